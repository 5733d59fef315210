import { make } from "./dom.js";
import { mosaicView } from "./mosaic.js";

/** Show explanations in a page of a report: a choice of images, and the view of the chosen one.
 *
 * @param {HTMLElement} place its content, which is for readers without scripts, is replaced.
 * @param {{title: string, mosaic: object}[]} entries
 * @param {string} heading text above, "" for none.
 */
export function showMosaics(place, entries, heading = "") {
  const stage = make("div"), buttons = entries.map(({ title, mosaic }, i) => make("button", { type: "button", "aria-pressed": "false", onclick: () => {
    buttons.forEach((button, j) => button.setAttribute("aria-pressed", String(i === j)));
    stage.replaceChildren(mosaicView(mosaic).node);
  } }, title));
  place.replaceChildren(heading ? make("h3", {}, heading) : "", make("div.bar", { role: "group", "aria-label": "Images" }, ...buttons), make("p.soft", {}, "Point at the picture or tap it, or use the arrow keys; click an image to light up what came from it."), stage);
  buttons[0]?.click();
}

/** Milliseconds after which a step that was asked for is said to be late: explaining one takes seconds. */
const LATE = 15000;

/** Show explanations of the steps of a run in a notebook: what anywidget calls. Python sends the step that is asked for. */
export function render({ model, el }) {
  const titles = model.get("titles"), stage = make("div"), told = make("output.number"), note = make("span.soft");
  let view = null, late = null;
  const slider = make("input", { type: "range", min: "0", max: String(titles.length - 1), value: String(model.get("at")), "aria-label": "Step of the run", oninput: () => {
    note.textContent = `${titles[Number(slider.value)]}: explaining …`;
    clearTimeout(late);
    late = setTimeout(() => { note.textContent = "no answer yet: steps are explained by the running kernel of the notebook"; }, LATE);
    model.set("at", Number(slider.value));
    model.save_changes();
  } });
  const show = async () => {
    const { at, mosaic } = await unzipped(model.get("step"));
    // Answers that were overtaken are not shown.
    if (at !== model.get("at")) return;
    clearTimeout(late);
    const chosen = view?.chosen;
    view = mosaicView(mosaic);
    if (chosen) view.select(...chosen);
    told.textContent = titles[at];
    note.textContent = "";
    stage.replaceChildren(view.node);
  };
  el.replaceChildren(titles.length > 1 ? make("div.bar", {}, slider, told, note) : "", stage);
  model.on("change:step", show);
  return show();
}

/** The object in bytes that gzip compressed. */
async function unzipped(bytes) {
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}
