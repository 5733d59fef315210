import { make } from "../dom.js";

/** The first view: what the studio shows, in a few sentences. */
export function aboutView(studio) {
  const node = make("section.start", {}, make("h2", {}, "Where do the ideas of an image generator come from?"));
  return { node, defaults: {}, show() {} };
}
