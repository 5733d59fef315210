import { make } from "./dom.js";
import { COLOURS } from "./paint.js";

const SPACE = "http://www.w3.org/2000/svg";

/** An SVG element with attributes. */
export function svg(name, attributes = {}, ...children) {
  const node = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

const look = (style) => ({ stroke: COLOURS[style % COLOURS.length], "stroke-width": 2.5, "stroke-dasharray": ["", "6 3", "2 3", "8 3 2 3"][style % 4] });

/** Curves over the steps, from 0 to 1, with a line at the step that is shown.
 *
 * @param {{name: string, style: number, values: (number|null)[]}[]} lines lines of the same style look the same in every plot.
 * @param {number} at the step.
 * @param {string} title
 */
export function curves(lines, at, title) {
  const width = 420, height = 150, left = 34, top = 10, bottom = 22;
  const count = Math.max(2, ...lines.map((line) => line.values.length));
  const x = (i) => left + (i / (count - 1)) * (width - left - 8), y = (value) => top + (1 - Math.max(0, Math.min(1, value))) * (height - top - bottom);
  const plot = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title}: ${lines.map((line) => `${line.name} ${line.values.at(-1)?.toFixed(3) ?? "undefined"}`).join(", ")}` });
  for (const value of [0, 0.5, 1]) {
    plot.append(svg("line", { x1: left, x2: width - 8, y1: y(value), y2: y(value), class: "curves-grid" }), svg("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, String(value)));
  }
  plot.append(svg("line", { x1: x(at), x2: x(at), y1: top, y2: height - bottom, class: "curves-at" }));
  for (const step of [0, Math.floor((count - 1) / 2), count - 1]) plot.append(svg("text", { x: x(step), y: height - 4, "text-anchor": step === count - 1 ? "end" : "start" }, step ? String(step + 1) : "step 1"));
  lines.forEach((line) => {
    const points = line.values.map((value, step) => (value === null ? null : `${x(step)},${y(value)}`)).filter(Boolean);
    plot.append(svg("polyline", { points: points.join(" "), fill: "none", ...look(line.style) }));
  });
  const key = make("div.curves-key", {}, ...lines.map((line) => make("span", {}, svg("svg", { viewBox: "0 0 24 8", class: "curves-sample" }, svg("line", { x1: 0, x2: 24, y1: 4, y2: 4, ...look(line.style) })), line.name)));
  return make("figure.curves", {}, make("figcaption.soft", {}, title), plot, key);
}
