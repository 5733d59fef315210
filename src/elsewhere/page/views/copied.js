import { oneOf } from "../address.js";
import { decode, pick } from "../arrays.js";
import { svg } from "../curves.js";
import { chooser, decimal, labelled, make } from "../dom.js";
import { subjectSelect } from "../own.js";
import { paint } from "../paint.js";
import { bytesOf } from "../pictures.js";
import { Latest } from "../source.js";

const MOST = 16;
const EXAMPLES = [["altered", "a training image and changed copies"], ["remembered", "drawn by IS"], ["drawn", "drawn by ELS"]];
const WORDS = {
  copy: "copy of a training image", "near copy": "near copy: a training image with small changes", mosaic: "mosaic: no copy, but nearly every pixel comes from a training patch",
  novel: "no copy, and not a mosaic of training patches either", "no copy": "no copy; whether it is a mosaic was not tested",
};

/** Was it copied? The audit of dropped pictures or examples. */
export function copiedView(studio) {
  const defaults = { subject: studio.about.subjects[0], example: "altered" };
  const fits = { subject: (value) => studio.about.subjects.includes(value), example: oneOf(EXAMPLES.map(([example]) => example)) };
  const live = !studio.source.recorded, audit = new Latest(studio.source);
  let state = { ...defaults }, own = null, dropped = [], about = null, asked = "";
  const controls = make("div.bar"), said = make("p.copied-said", { "aria-live": "polite" }), list = make("ol.copied-list"), scale = make("div.copied-scale");
  const file = make("input", { type: "file", multiple: true, accept: "image/*", onchange: () => take([...file.files]) });
  const drop = make("label.copied-drop", {
    ondragover: (event) => { event.preventDefault(); drop.classList.add("over"); }, ondragleave: () => drop.classList.remove("over"),
    ondrop: (event) => { event.preventDefault(); drop.classList.remove("over"); take([...event.dataTransfer.files]); },
  }, "Drop pictures here, or choose files ", file);
  const node = make("section.copied", {},
    make("h2", {}, "Was it copied?"),
    make("p", {}, "Each picture is compared with every training image, also moved by up to three pixels and mirrored. We call a picture a copy if it is much closer to one training image than training images usually are to each other. No verdict here is proof in law: a picture may copy a style, or a training set that is not the one chosen."),
    controls, live ? drop : null, said, list, scale);

  async function take(files) {
    audit.cancel();
    list.replaceChildren();
    scale.replaceChildren();
    said.textContent = "Reading the files …";
    const pictures = files.slice(0, MOST), left = files.length - pictures.length;
    try {
      await load();
      const found = [];
      for (const one of pictures) {
        const bytes = await bytesOf(one, about.shape);
        if (!bytes) throw new Error(`${one.name} is no picture that this browser can read.`);
        found.push(bytes);
      }
      own = found;
      dropped = files;
      await run();
      if (left) said.textContent += ` ${left} more ${left === 1 ? "picture was" : "pictures were"} left out: ${MOST} at a time.`;
    } catch (error) {
      said.textContent = error.message;
    }
  }

  async function load() {
    if (about?.name !== state.subject) await studio.source.ask("about", { subject: state.subject }, (message) => (about = message.subject));
  }

  function change(changes) {
    Object.assign(state, changes);
    studio.set(changes);
    own = null;
    // Dropped pictures are compared with the other set too.
    if (changes.subject && dropped.length) return take(dropped);
    dropped = [];
    return run();
  }

  async function run() {
    list.replaceChildren();
    scale.replaceChildren();
    said.textContent = "Comparing …";
    const key = JSON.stringify(state);
    asked = "";
    try {
      await load();
      if (await audit.ask("copied", { subject: state.subject, ...(own ? { pictures: own } : { example: state.example }) }, (message) => {
        if (message.pictures) {
          const pictures = decode(message.pictures);
          const cells = [...Array(pictures.shape[0]).keys()].map((i) => list.children[i] || list.appendChild(entry()));
          cells.forEach((cell, i) => paint(cell.querySelector("canvas"), pick(pictures, i)));
          said.textContent = `Comparing with ${about ? `${about.images.toLocaleString("en")} training images` : "the training images"} …`;
          return;
        }
        said.textContent = message.headline;
        const images = decode(message.images);
        message.verdicts.forEach((verdict, i) => {
          const item = list.children[i], [, nearest] = item.querySelectorAll("canvas");
          paint(nearest, pick(images, i));
          item.className = `copied-item ${verdict.replace(" ", "-")}`;
          item.querySelector(".copied-verdict").textContent = `${i + 1}. ${WORDS[verdict]}`;
          item.querySelector(".copied-distance").textContent = `nearest: image ${message.nearest[i]}, ${message.changes[i]}; distance ${decimal(message.distances[i], 3)}`;
        });
        scale.replaceChildren(numberLine(message));
      })) asked = key;
    } catch (error) {
      said.textContent = error.message;
    }
  }

  function entry() {
    const canvas = () => make("canvas.copied-picture", { "aria-hidden": "true" });
    return make("li.copied-item", {}, make("div.copied-pair", {}, make("figure", {}, canvas(), make("figcaption", {}, "picture")), make("figure", {}, canvas(), make("figcaption", {}, "nearest"))), make("b.copied-verdict", {}, "…"), make("span.soft.number.copied-distance"));
  }

  return { node, defaults, fits, async show(next) {
    state = next;
    controls.replaceChildren(labelled("Training images", subjectSelect(studio, state.subject, (subject) => change({ subject }))), chooser("Examples", "copied-example", EXAMPLES, state.example, (example) => change({ example })));
    if (asked !== JSON.stringify(state)) await run();
  }, hide: () => audit.cancel() };
}

/** Distances on a line: those of training images among themselves, the threshold, and the pictures. */
function numberLine({ distances, near, null: among }) {
  const width = 640, height = 120, left = 10, right = 14, most = Math.max(...among, ...distances) * 1.05 || 1;
  const x = (value) => left + (value / most) * (width - left - right);
  const plot = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Distance scale: pictures at ${distances.map((one) => one.toFixed(3)).join(", ")}; training images have at least ${among[0].toFixed(3)} to one another; near copies lie below ${near.toFixed(3)}` });
  for (const value of among) plot.append(svg("line", { x1: x(value), x2: x(value), y1: 62, y2: 84, class: "copied-among" }));
  plot.append(svg("line", { x1: left, x2: width - right, y1: 84, y2: 84, class: "curves-grid" }), svg("line", { x1: x(near), x2: x(near), y1: 16, y2: 90, class: "curves-at" }), svg("text", { x: x(near) + 5, y: 24 }, "near copies: left of here"));
  distances.forEach((value, i) => plot.append(svg("circle", { cx: x(value), cy: 52 - 9 * (i % 3), r: 5, class: "copied-dot" }), svg("text", { x: x(value) + 7, y: 55 - 9 * (i % 3) }, String(i + 1))));
  plot.append(svg("text", { x: left, y: 102 }, "0: identical"), svg("text", { x: width - right, y: 102, "text-anchor": "end" }, `distance ${most.toFixed(2)}`));
  return make("figure.curves", {}, make("figcaption.soft", {}, "Dots: the pictures. Lines: distances of training images to their nearest neighbour among the training images."), plot);
}
