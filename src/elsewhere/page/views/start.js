import { each, LARGEST_SEED, listOf, oneOf, whole } from "../address.js";
import { decode } from "../arrays.js";
import { lessMotion, make } from "../dom.js";
import { paint } from "../paint.js";
import { Latest } from "../source.js";

const SIDE = 8, STEPS = 10;
const COLOURS = [[0, 114, 178], [230, 159, 0]];

/** The first view: two pictures of 8 x 8, remembered beside recombined. */
export function startView(studio) {
  const defaults = { pictures: studio.about.toy, seed: 0 };
  const picture = listOf(oneOf([0, 1]), SIDE * SIDE, SIDE * SIDE), fits = { pictures: each(picture, picture), seed: whole(0, LARGEST_SEED) };
  const toy = new Latest(studio.source);
  let state = { ...defaults }, film = 0, messages = [];
  const live = !studio.source.recorded;
  const editors = [0, 1].map((number) => pictureEditor(number));
  const canvases = Object.fromEntries(["x", "is", "els", "share"].map((name) => [name, make("canvas.start-picture", { role: "img", "aria-label": NAMES[name] })]));
  for (const canvas of Object.values(canvases)) canvas.width = canvas.height = SIDE;
  const said = make("p.start-said", { "aria-live": "polite" }, "Press the button: both start from the same noise.");
  const go = make("button.primary", { type: "button", onclick: () => run() }, "Denoise");
  const other = make("button", { type: "button", onclick: () => change({ seed: (state.seed + 1) % 12 }) }, "Other noise");
  const presets = make("div.bar", { role: "group", "aria-label": "Pairs of pictures" }, ...[["First pair", null], ...Object.entries(PAIRS)].map(([name, pair]) =>
    make("button", { type: "button", onclick: () => change({ pictures: pair || studio.about.toy }) }, name)));
  const slider = make("input", { type: "range", min: "0", max: String(STEPS - 1), value: "0", "aria-label": "Step of the denoising", oninput: () => {
    film++;
    if (!messages[slider.value]) return;
    show_step(messages[slider.value]);
    said.textContent = sentence(messages[slider.value]);
  } });
  const stepText = make("output.number.start-step");
  const figure = (name, text, note) => make("figure.start-figure", {}, canvases[name], make("figcaption", {}, make("b", {}, text), make("span.soft", {}, note)));
  const node = make("section.start", {},
    make("h2", {}, "Where do the ideas of an image generator come from?"),
    make("p", {}, "An image generator starts from noise and removes it step by step. The perfect way to remove noise only gives back pictures that it has seen. Many networks look mostly at small windows instead, and that is enough to create something new. Here is the idea with two pictures of 8 × 8 pixels."),
    make("div.panel.start-toy", {},
      make("div.start-row", {}, make("h3", {}, "1. Two training pictures"), live ? make("p.soft", {}, "Click a cell, or move with the arrow keys and press space, to change it.") : null, live ? presets : null, make("div.start-pair", {}, ...editors.map((editor) => editor.node))),
      make("div.start-row", {}, make("h3", {}, "2. Remove noise, in ten steps"), make("div.bar", {}, go, other, slider, stepText),
        make("div.start-results", {}, figure("x", "Noise", "where both begin"), figure("is", "Remembers", "sees the whole picture"), figure("els", "Creates", "sees windows of 3 × 3"), figure("share", "Whose pixels?", "blue: from A, orange: from B, green: a mix; dark where the pixel is black"))),
      said),
    make("p", {}, make("a", { href: "#tour" }, "Take the tour: eight short steps"), " · ", make("a", { href: "#draw" }, "Draw real pictures"), " · ", make("a", { href: "#fingers" }, "Why hands have six fingers"), " · ", make("a", { href: "#patterns" }, "How a leopard gets its spots")));

  function pictureEditor(number) {
    const cells = make("div.start-cells", { role: "group", "aria-label": `Picture ${"AB"[number]}` });
    const buttons = [...Array(SIDE * SIDE).keys()].map((i) => make("button.start-cell", { type: "button", tabIndex: i ? -1 : 0, disabled: !live, "aria-pressed": "false", "aria-label": `Picture ${"AB"[number]}, row ${Math.floor(i / SIDE) + 1}, column ${(i % SIDE) + 1}`,
      onclick: () => {
        const pictures = state.pictures.map((one) => [...one]);
        pictures[number][i] = 1 - pictures[number][i];
        change({ pictures });
      },
      onkeydown: (event) => {
        const by = { ArrowUp: -SIDE, ArrowDown: SIDE, ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (!by || !buttons[i + by] || (Math.abs(by) === 1 && Math.floor(i / SIDE) !== Math.floor((i + by) / SIDE))) return;
        event.preventDefault();
        buttons[i].tabIndex = -1;
        buttons[i + by].tabIndex = 0;
        buttons[i + by].focus();
      } }));
    cells.append(...buttons);
    const show = () => buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(state.pictures[number][i] === 1)));
    return { show, node: make("figure.start-figure", {}, cells, make("figcaption", {}, make("b", {}, `Picture ${"AB"[number]}`))) };
  }

  function change(changes) {
    Object.assign(state, changes);
    studio.set(changes);
    editors.forEach((editor) => editor.show());
    run();
  }

  /** Ask for the steps, and show them as a film, or the first one alone. */
  async function run(play = true) {
    const mine = ++film, found = [];
    said.textContent = play ? "Removing noise …" : "Press Denoise: both start from the same noise.";
    try {
      await toy.ask("toy", { pictures: state.pictures, seed: state.seed }, (message) => found.push(message));
      messages = found;
      for (const message of play ? found : found.slice(0, 1)) {
        if (mine !== film) return;
        show_step(message);
        await new Promise((done) => setTimeout(done, lessMotion() ? 0 : 150));
      }
      if (mine !== film || !play) return;
      said.textContent = sentence(messages.at(-1));
    } catch (error) {
      said.textContent = error.message;
    }
  }

  function show_step(message) {
    const image = (name) => ({ shape: [1, SIDE, SIDE], values: decode(message[name]).values });
    if (message.step === 0) paint(canvases.x, image("x"), 1.5 * message.sigma);
    slider.value = String(message.step);
    stepText.textContent = `step ${message.step + 1} of ${STEPS}`;
    paint(canvases.is, image("is"));
    paint(canvases.els, image("els"));
    const share = decode(message.share).values, els = decode(message.els).values, pen = canvases.share.getContext("2d"), pixels = new ImageData(SIDE, SIDE);
    for (let i = 0; i < share.length; i++) {
      const light = 0.35 + 0.65 * Math.max(0, Math.min(1, (els[i] + 1) / 2));
      for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = light * (share[i] * COLOURS[0][c] + (1 - share[i]) * COLOURS[1][c]) + (1 - light) * 20;
      pixels.data[4 * i + 3] = 255;
    }
    pen.putImageData(pixels, 0, 0);
  }

  return { node, defaults, fits, show(next) {
    state = next;
    editors.forEach((editor) => editor.show());
    return run(false);
  }, hide() {
    toy.cancel();
    film++;
  } };
}

/** Further pairs of pictures to begin with. */
const PAIRS = {
  "Stripes and checks": [cells((row) => row % 4 < 2), cells((row, column) => (row >> 1) % 2 === (column >> 1) % 2)],
  "Ring and cross": [cells((row, column) => Math.abs(Math.hypot(row - 3.5, column - 3.5) - 2.6) < 0.8), cells((row, column) => Math.abs(row - 3.5) < 1 || Math.abs(column - 3.5) < 1)],
};

/** The cells of a picture: 1 where a rule of row and column holds. */
function cells(rule) {
  return [...Array(SIDE * SIDE).keys()].map((i) => (rule(Math.floor(i / SIDE), i % SIDE) ? 1 : 0));
}

const NAMES = { x: "The noisy picture", is: "What the remembering machine drew", els: "What the local machine drew", share: "Which picture each pixel came from" };

/** Distance (rms, pictures in -1..1) below which a drawing counts as one of the two pictures: a tenth of a gray scale. */
const SAME = 0.2;

function sentence({ nearest, step }) {
  if (step !== STEPS - 1 || !nearest) return "Each step removes a part of the noise.";
  const name = (distances) => (distances[0] < distances[1] ? "A" : "B");
  const remembered = Math.min(...nearest.is) < SAME
    ? `The machine that sees the whole picture drew picture ${name(nearest.is)} again: it can only remember.`
    : "The machine that sees the whole picture drew a mean of A and B: it can only remember.";
  const created = Math.min(...nearest.els) < SAME
    ? `The local machine happened to draw picture ${name(nearest.els)} too: try other noise.`
    : "The local machine drew a picture that is neither: each of its pixels follows A or B, or a mix of both, as its own window of 3 × 3 decides, but the whole is new.";
  return `${remembered} ${created}`;
}
