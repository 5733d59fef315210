import { decode, pick } from "./arrays.js";
import { decimal, make, percent } from "./dom.js";
import { svg } from "./curves.js";
import { colourOf, paint } from "./paint.js";

/** Weight of the listed sources below which a pixel is plain: none of its patches matters. */
const PLAIN = 0.02;

/** Weight of the sources that get a line. */
const LEAST_LINE = 0.001;

/** The explanation view: which training patches made each pixel. The studio, notebooks and reports share it.
 *
 * @param {object} message see `mosaic_message` in analysis/mosaic_message.py.
 * @returns {{node: HTMLElement, select(row, column), light(id), mainSource(row, column), chosen: number[]}}
 */
export function mosaicView(message) {
  const table = Object.fromEntries(["ids", "rows", "columns", "weights", "counts"].map((name) => [name, decode(message[name]).values]));
  const x0 = decode(message.x0), images = decode(message.images), entropies = decode(message.entropy).values;
  const [height, width, top] = message.ids.shape, channels = x0.shape[0];
  const place = new Map(message.shown.map((id, i) => [id, i]));
  const reach = Math.floor(message.window / 2);
  let chosen = [Math.floor(height / 2), Math.floor(width / 2)], lit = null, kept = false;

  const picture = make("canvas.mosaic-picture", { "aria-hidden": "true" });
  const marks = make("canvas.mosaic-marks", {
    tabIndex: 0, role: "img",
    "aria-label": "The picture. Arrow keys move the pixel whose sources are shown.",
  });
  marks.width = 16 * width;
  marks.height = 16 * height;
  const stage = make("div.mosaic-stage", {}, picture, marks);
  stage.style.aspectRatio = `${width} / ${height}`;
  const told = make("p.mosaic-told.number", { "aria-live": "polite" }), showing = make("p.mosaic-showing.soft");
  const formula = make("p.mosaic-formula.number");
  const sources = make("ol.mosaic-sources", { "aria-label": "Sources of the pixel, the largest weight first" });
  const lines = svg("svg", { class: "mosaic-lines", "aria-hidden": "true" });
  const credits = make("ol.mosaic-credits", { "aria-label": "Training images by their share of the whole picture" });
  paint(picture, x0);

  function thumbnail(id, row = null, column = null) {
    const canvas = make("canvas.mosaic-thumb", { "aria-hidden": "true" });
    if (!place.has(id)) return canvas;
    paint(canvas, pick(images, place.get(id)));
    if (row === null) return canvas;
    const frame = make("span.mosaic-framed", {}, canvas), box = make("span.mosaic-box");
    const [tall, wide] = images.shape.slice(2);
    const from = (at, side) => Math.max(0, at - reach) / side, to = (at, side) => Math.min(side, at + reach + 1) / side;
    box.style.top = `${100 * from(row, tall)}%`;
    box.style.left = `${100 * from(column, wide)}%`;
    box.style.height = `${100 * (to(row, tall) - from(row, tall))}%`;
    box.style.width = `${100 * (to(column, wide) - from(column, wide))}%`;
    frame.append(box);
    return frame;
  }

  const pressed = () => {
    for (const button of node.querySelectorAll("button[data-id]")) button.setAttribute("aria-pressed", String(Number(button.dataset.id) === lit));
  };

  function light(id) {
    lit = lit === id ? null : id;
    pressed();
    showing.replaceChildren(...(lit === null
      ? [kept ? "This pixel is kept: click it again, or press Escape, to choose another." : "Click a pixel to keep it; then click one of its sources to see all that came from there."]
      : [`Bright: what came from image ${lit}. `, make("button", { type: "button", onclick: () => light(lit) }, "Show all")]));
    draw();
  }

  function draw() {
    const pen = marks.getContext("2d"), unit = 16;
    pen.clearRect(0, 0, marks.width, marks.height);
    if (lit !== null) {
      for (let i = 0; i < height * width; i++) {
        let share = 0;
        for (let k = 0; k < top; k++) if (table.ids[i * top + k] === lit) share += table.weights[i * top + k];
        pen.fillStyle = `rgba(0, 0, 0, ${0.8 * (1 - Math.sqrt(share))})`;
        pen.fillRect((i % width) * unit, Math.floor(i / width) * unit, unit, unit);
        if (share > 0.02) {
          pen.globalAlpha = 0.6 * Math.sqrt(share);
          pen.fillStyle = colourOf(lit);
          pen.fillRect((i % width) * unit, Math.floor(i / width) * unit, unit, unit);
          pen.globalAlpha = 1;
        }
      }
    }
    const [row, column] = chosen;
    const side = 2 * reach + 1;
    pen.lineWidth = 3;
    for (const [colour, offset] of [["#000", 0], ["#fff", 3]]) {
      pen.strokeStyle = colour;
      if (side < 2 * Math.max(height, width)) pen.strokeRect((column - reach) * unit + offset, (row - reach) * unit + offset, side * unit - 2 * offset, side * unit - 2 * offset);
      pen.strokeRect(column * unit + offset / 2, row * unit + offset / 2, unit - offset, unit - offset);
    }
  }

  function select(row, column) {
    chosen = [Math.min(height - 1, Math.max(0, row)), Math.min(width - 1, Math.max(0, column))];
    const at = (chosen[0] * width + chosen[1]) * top, entries = [];
    let total = 0, entropy = 0, least = 1;
    for (let k = 0; k < top && table.ids[at + k] >= 0; k++) {
      const weight = table.weights[at + k];
      const count = Math.max(1, table.counts[at + k]);
      total += weight;
      least = Math.min(least, weight / count);
      if (weight > 0) entropy -= weight * Math.log(weight / count);
      entries.push({ id: table.ids[at + k], row: table.rows[at + k], column: table.columns[at + k], weight, count: table.counts[at + k] });
    }
    const pixel = values(x0, ...chosen).map((value) => decimal(value, 2)).join(", ");
    told.textContent =
      `Row ${chosen[0]}, column ${chosen[1]}: ${entries.length === 1 && entries[0].weight > 0.999 ? "one patch" : `its ${entries.length} largest sources`} ` +
      `with ${percent(Math.min(1, total))} of the weight. ${total < PLAIN ? "Very many patches fit equally well here, as in plain background: no single source matters. " : ""}` +
      `Entropy of all weights: ${entropyText(entropies[chosen[0] * width + chosen[1]], entropy, 1 - total, least)}; ${message.candidates.toLocaleString("en")} equal weights would have ln ${message.candidates.toLocaleString("en")} = ${decimal(Math.log(message.candidates), 2)}.`;
    const terms = entries.slice(0, 3).map((entry) => `${decimal(entry.weight, 3)} × (${centre(entry)})`);
    formula.textContent = `x0 = Σ w v = ${terms.join(" + ")}${entries.length > 3 || total < 0.999 ? " + …" : ""} = ${pixel}`;
    sources.replaceChildren(...entries.map((entry) => {
      const text = `${percent(entry.weight)} from image ${entry.id}, row ${entry.row}, column ${entry.column}${entry.count > 1 ? `, ${entry.count} equal patches` : ""}`;
      return make("li", {}, make("button.mosaic-source", { type: "button", "data-id": String(entry.id), "aria-pressed": String(entry.id === lit), title: text, "aria-label": `${text}. Show all pixels from this image.`, onclick: () => light(entry.id) },
        thumbnail(entry.id, entry.row, entry.column), make("span.number", {}, percent(entry.weight)), make("small", {}, `#${entry.id}`)));
    }));
    draw();
    connect();
  }

  /** Entropy of all weights, in nats. Where it is not known: those that are not listed, `rest` in all, are each at most `least`, which bounds it. */
  function entropyText(known, listed, rest, least) {
    if (!Number.isNaN(known)) return `${decimal(known, 2)}, as of ${effective(known)} equal ones`;
    if (rest < 1e-4) return `${decimal(listed, 2)}, as of ${effective(listed)} equal ones`;
    const low = listed - rest * Math.log(Math.min(Math.max(least, 1e-30), rest));
    const high = listed + rest * Math.log(Math.max(message.candidates - top, 1 / least) / rest);
    const most = Math.min(high, Math.log(message.candidates));
    return most - low < 0.005 ? `${decimal(low, 2)}, as of ${effective(low)} equal ones` : `${decimal(low, 2)} to ${decimal(most, 2)}, as of ${effective(low)} to ${effective(most)} equal ones`;
  }

  /** Number of equal weights that have an entropy. */
  function effective(entropy) {
    const number = Math.exp(entropy);
    return number < 10 ? decimal(number, 1) : Math.round(number).toLocaleString("en");
  }

  /** Lines from the pixel to its sources, the wider the larger the weight. */
  function connect() {
    if (!node.isConnected) return;
    const frame = node.getBoundingClientRect(), from = marks.getBoundingClientRect();
    const x = from.left - frame.left + ((chosen[1] + 0.5) / width) * from.width, y = from.top - frame.top + ((chosen[0] + 0.5) / height) * from.height;
    const at = (chosen[0] * width + chosen[1]) * top;
    const boxes = [...sources.querySelectorAll(".mosaic-box")].filter((_, k) => table.weights[at + k] >= LEAST_LINE);
    lines.replaceChildren(...boxes.map((box, k) => {
      const to = box.getBoundingClientRect();
      return svg("line", { x1: x, y1: y, x2: to.left - frame.left + to.width / 2, y2: to.top - frame.top + to.height / 2, "stroke-width": 1 + 5 * table.weights[at + k] });
    }));
  }

  function centre(entry) {
    if (!place.has(entry.id)) return "–";
    return values(pick(images, place.get(entry.id)), entry.row, entry.column).map((value) => decimal(value / 127.5 - 1, 2)).join(", ");
  }

  /** The channels of a pixel of an image (C, H, W). */
  function values(image, row, column) {
    const [, tall, wide] = image.shape;
    return [...Array(channels).keys()].map((channel) => image.values[(channel * tall + row) * wide + column]);
  }

  const pointed = (event) => {
    const box = marks.getBoundingClientRect();
    return [Math.floor(((event.clientY - box.top) / box.height) * height), Math.floor(((event.clientX - box.left) / box.width) * width)];
  };
  marks.addEventListener("pointermove", (event) => {
    const [row, column] = pointed(event);
    if (!kept && (row !== chosen[0] || column !== chosen[1])) select(row, column);
  });
  marks.addEventListener("pointerdown", (event) => {
    const at = pointed(event);
    keep(!(kept && at[0] === chosen[0] && at[1] === chosen[1]));
    select(...at);
  });
  const keep = (now) => {
    kept = now;
    light(null);
  };
  marks.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      if (lit !== null) light(null);
      else keep(false);
    }
    if (event.key === "Enter") keep(!kept);
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    select(chosen[0] + step[0], chosen[1] + step[1]);
  });

  for (const [id, share] of message.credits) {
    credits.append(make("li", {}, make("button.mosaic-credit", { type: "button", "data-id": String(id), "aria-pressed": "false", onclick: () => light(id),
      "aria-label": `Image ${id}: ${percent(share)} of the picture. Show its pixels.` }, thumbnail(id), make("span.number", {}, percent(share)), make("small", {}, `#${id}`))));
  }
  const shares = message.credits.reduce((sum, [, share]) => sum + share, 0);
  const node = make("div.mosaic", {},
    make("div.mosaic-left", {}, stage, showing, told, formula),
    make("div.mosaic-right", {}, make("h4", {}, "Patches of this pixel"), sources),
    make("div.mosaic-whole", {}, make("h4", {}, "Credits: whose pixels are in the whole picture?"),
      make("p.soft", {}, `These ${message.credits.length} training images carry ${percent(shares)} of the picture${shares < 0.995 ? "; the rest comes from others. Plain background, which many share, counts too" : ""}.`), credits),
    lines);
  light(null);
  select(...chosen);
  // The view is laid out after it was made, and again when the page changes its size.
  new ResizeObserver(connect).observe(node);
  /** The training image with the largest weight at a pixel, of the listed sources: { id, weight }. */
  function mainSource(row, column) {
    const at = (row * width + column) * top, sums = new Map();
    for (let k = 0; k < top && table.ids[at + k] >= 0; k++) sums.set(table.ids[at + k], (sums.get(table.ids[at + k]) || 0) + table.weights[at + k]);
    const [id, weight] = [...sums].reduce((best, one) => (one[1] > best[1] ? one : best), [-1, 0]);
    return { id, weight };
  }

  return { node, select, light, mainSource, get chosen() { return chosen; } };
}
