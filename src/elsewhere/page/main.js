import { readAddress, usable, writeAddress } from "./address.js";
import { make } from "./dom.js";
import { copiedView } from "./views/copied.js";
import { drawView } from "./views/draw.js";
import { fingersView } from "./views/fingers.js";
import { patternsView } from "./views/patterns.js";
import { startView } from "./views/start.js";
import { tourView } from "./views/tour.js";

/** The parts of the studio: name in the address, title, and a function that makes the view.
 *
 * A view is { node, defaults, fits, show(state) }: `fits` tests the values of an address (see `usable`), `show` is called when the view is opened and when its state changes through
 * the address. It gets a `studio`: { source, about, set(changes), say(text), fail(error) }; `hide()` ends running work.
 */
export const VIEWS = [
  ["start", "Start", startView],
  ["tour", "Tour", tourView],
  ["draw", "Draw and explain", drawView],
  ["fingers", "Extra fingers", fingersView],
  ["patterns", "Patterns", patternsView],
  ["copied", "Was it copied?", copiedView],
];

/** Start the page in a document.
 *
 * @param {object} source Live or Recorded; see source.js.
 */
export async function start(source) {
  const main = document.getElementById("main"), tabs = document.getElementById("tabs"), status = document.getElementById("status");
  const say = (text, kind = "") => {
    status.textContent = text;
    status.className = kind;
  };
  const fail = (error) => {
    if (error.name !== "AbortError") say(error.message, "error");
  };
  document.getElementById("theme").addEventListener("click", switchTheme);
  document.querySelector(".skip").addEventListener("click", (event) => {
    // The address keeps the state of the view.
    event.preventDefault();
    main.focus();
  });
  const opened = new Map(), notice = make("p.notice", { role: "alert" });
  let current = null;
  const studio = {
    source,
    say,
    fail,
    about: null,
    /** Change the state of the open view: it is written into the address. */
    set(changes) {
      Object.assign(current.state, changes);
      history.replaceState(null, "", writeAddress(current.name, current.state, current.view.defaults));
    },
  };
  for (const [name, title] of VIEWS) tabs.append(make("a", { href: `#${name}`, id: `tab-${name}` }, title));
  say("Connecting to the studio …");
  try {
    await source.ask("about", {}, (message) => (studio.about = message));
  } catch (error) {
    fail(error);
    return;
  }
  say("");
  const route = () => {
    const address = readAddress(location.hash);
    const [name, title, build] = VIEWS.find(([one]) => one === address.view) || VIEWS[0];
    if (current && current.name !== name) current.view.hide?.();
    if (!opened.has(name)) opened.set(name, build(studio));
    const view = opened.get(name);
    const changed = !current || current.name !== name;
    const { state, refused } = usable(name === address.view ? address.state : {}, view.defaults, view.fits);
    current = { name, view, state };
    if (changed) {
      main.replaceChildren(notice, view.node);
      say("");
    }
    const names = refused.slice(0, 3).map((one) => one.slice(0, 20)).join(", ");
    const forgotten = refused.includes("subject") && String(address.state.subject).startsWith("own-") ? " Your own pictures were forgotten when their page was closed: choose them again." : "";
    notice.textContent = refused.length ? `This view cannot use what the address says of ${names}: the usual is shown instead.${forgotten}` : "";
    for (const tab of tabs.children) tab.toggleAttribute("aria-current", tab.id === `tab-${name}`);
    document.title = `${title} – Elsewhere studio`;
    Promise.resolve(view.show(current.state)).catch(fail);
  };
  addEventListener("hashchange", route);
  addEventListener("pagehide", () => current?.view.hide?.());
  route();
}

function switchTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = document.documentElement.dataset.theme || (dark ? "dark" : "light");
  document.documentElement.dataset.theme = now === "dark" ? "light" : "dark";
}
