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

/** Show explanations of the steps of a run in a notebook: what anywidget calls. */
export function render({ model, el }) {
  const show = () => {
    const steps = model.get("steps"), stage = make("div"), told = make("output.number");
    let view = null;
    const step = (at) => {
      const chosen = view?.chosen;
      view = mosaicView(steps[at].mosaic);
      if (chosen) view.select(...chosen);
      told.textContent = steps[at].title;
      stage.replaceChildren(view.node);
    };
    const slider = make("input", { type: "range", min: "0", max: String(steps.length - 1), value: String(steps.length - 1), "aria-label": "Step of the run", oninput: () => step(Number(slider.value)) });
    el.replaceChildren(steps.length > 1 ? make("div.bar", {}, slider, told) : "", stage);
    step(steps.length - 1);
  };
  model.on("change:steps", show);
  show();
}
