import { svg } from "./curves.js";
import { make } from "./dom.js";

/** Edit the window of each noise level: drag bars, or use the arrow keys; or one side for all levels.
 *
 * @param {number[][]} usual [sigma, side] of each level of the calibrated windows.
 * @param {null|number|number[][]} value the state's window.
 * @param {number} side of the images.
 * @param {boolean} calibrated whether the usual windows were calibrated to a network of these images.
 * @param {(window: null|number|number[][]) => void} onchange
 */
export function scheduleEditor(usual, value, side, calibrated, onchange) {
  const most = side + 1 - (side % 2);
  const levels = usual.map(([sigma, window]) => [sigma, Math.min(most, Array.isArray(value) ? (value.find(([one]) => one === sigma) || [0, window])[1] : value ?? window)]);
  const width = 640, height = 230, top = 22, bottom = 44, step = width / levels.length;
  const y = (window) => top + (1 - window / most) * (height - top - bottom);
  const plot = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "editor-plot", role: "group", "aria-label": "Side of the window at each noise level" });
  plot.append(svg("text", { x: 2, y: 14 }, "side of the window, pixels"), svg("text", { x: width / 2, y: height - 6, "text-anchor": "middle" }, "noise level (sigma): noise on the left, the finished picture on the right"));
  const shown = make("output.number", {}, "");
  const bars = levels.map(([sigma, window], i) => {
    const bar = svg("rect", { x: i * step + 2, width: step - 4, rx: 2, class: "editor-bar", tabindex: 0, role: "slider", "aria-valuemin": 1, "aria-valuemax": most, "aria-label": `Window at sigma ${sigma.toPrecision(2)}` });
    const text = svg("text", { x: (i + 0.5) * step, y: height - 26, "text-anchor": "middle" }, i % 3 === 0 ? sigma.toPrecision(2) : "");
    plot.append(bar, text);
    const set = (next, final) => {
      levels[i][1] = Math.max(1, Math.min(most, next | 1));
      place();
      if (final) onchange(levels.map((level) => [...level]));
    };
    const place = () => {
      bar.setAttribute("y", y(levels[i][1]));
      bar.setAttribute("height", height - bottom - y(levels[i][1]));
      bar.setAttribute("aria-valuenow", levels[i][1]);
      bar.setAttribute("aria-valuetext", `${levels[i][1]} by ${levels[i][1]} pixels`);
      shown.textContent = `sigma ${sigma.toPrecision(2)}: window of ${levels[i][1]} × ${levels[i][1]} pixels`;
    };
    place();
    bar.addEventListener("keydown", (event) => {
      const by = { ArrowUp: 2, ArrowRight: 2, ArrowDown: -2, ArrowLeft: -2 }[event.key];
      if (!by) return;
      event.preventDefault();
      set(levels[i][1] + by, true);
    });
    return { set };
  });
  const at = (event) => {
    const box = plot.getBoundingClientRect();
    const index = Math.floor(((event.clientX - box.left) / box.width) * levels.length);
    const window = Math.round(most * (1 - (((event.clientY - box.top) / box.height) * height - top) / (height - top - bottom)));
    return [Math.max(0, Math.min(levels.length - 1, index)), window];
  };
  let dragged = false;
  const drag = (event) => {
    const [index, window] = at(event);
    bars[index].set(window, false);
    dragged = true;
  };
  plot.addEventListener("pointerdown", (event) => {
    plot.setPointerCapture(event.pointerId);
    drag(event);
  });
  plot.addEventListener("pointermove", (event) => { if (event.buttons) drag(event); });
  plot.addEventListener("pointerup", () => {
    if (dragged) onchange(levels.map((level) => [...level]));
    dragged = false;
  });
  const one = make("input", { type: "range", min: "1", max: String(most), step: "2", value: String(typeof value === "number" ? value : 7), "aria-label": "One window for all noise levels", oninput: () => (shown.textContent = `window of ${one.value} × ${one.value} pixels at all noise levels`), onchange: () => onchange(Number(one.value)) });
  shown.textContent = value === null ? (calibrated ? "These windows were calibrated to the network." : "No network was trained on these pictures: these windows are a general rule.") : typeof value === "number" ? `window of ${value} × ${value} pixels at all noise levels` : "Your own windows.";
  return make("div", {}, make("p.soft", {}, "Large windows at high noise place the parts; small windows at low noise recombine details. Drag the bars, or set one side for all levels."),
    plot, make("div.bar", {}, make("label.control", {}, make("span", {}, "One side"), one), shown, make("button", { type: "button", onclick: () => onchange(null) }, "Reset windows")));
}
