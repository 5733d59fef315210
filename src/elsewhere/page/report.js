import { make } from "./dom.js";
import { mosaicView } from "./mosaic.js";

/** Show explanations in a page of a report: a choice of images, and the view of the chosen one.
 *
 * @param {HTMLElement} place its content, which is for readers without scripts, is replaced.
 * @param {{title: string, mosaic: object}[]} entries
 */
export function showMosaics(place, entries) {
  const stage = make("div"), buttons = entries.map(({ title, mosaic }, i) => make("button", { type: "button", "aria-pressed": "false", onclick: () => {
    buttons.forEach((button, j) => button.setAttribute("aria-pressed", String(i === j)));
    stage.replaceChildren(mosaicView(mosaic).node);
  } }, title));
  place.replaceChildren(make("div.bar", { role: "group", "aria-label": "Images" }, ...buttons), make("p.soft", {}, "Move the pointer over the picture, or use the arrow keys; click an image to light up what came from it."), stage);
  buttons[0]?.click();
}

/** Show one explanation in a notebook: what anywidget calls. */
export function render({ model, el }) {
  const show = () => el.replaceChildren(mosaicView(model.get("message")).node);
  model.on("change:message", show);
  show();
}
