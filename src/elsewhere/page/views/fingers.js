import { either, LARGEST_SEED, oneOf, whole } from "../address.js";
import { decode } from "../arrays.js";
import { labelled, make, percent } from "../dom.js";
import { mosaicView } from "../mosaic.js";
import { markTips, paint } from "../paint.js";
import { Latest } from "../source.js";

const STEPS = 20;
/** A seed whose hand has six fingers. */
const FIRST = 1;

/** Extra fingers: when windows shrink, fingers are no longer counted. */
export function fingersView(studio) {
  const live = !studio.source.recorded;
  const WINDOWS = live ? [3, 5, 7, 9, 11, 13, 15, 17, 21, 25] : [5, 9, 15];
  const WHEN = live ? [0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2, 3, 5, 8, 12, 20] : [0.5, 2, 8];
  const defaults = { seed: FIRST, window: null, when: null, hand: null };
  const none = oneOf([null]);
  const fits = { hand: either(none, whole(0, LARGEST_SEED)), seed: whole(0, LARGEST_SEED), window: either(none, (value) => whole(3, 65)(value) && value % 2 === 1), when: either(none, (value) => typeof value === "number" && value >= 0.05 && value <= 50) };
  const drawing = new Latest(studio.source), search = new Latest(studio.source), explaining = new Latest(studio.source);
  let state = { ...defaults }, searched = 0, timer = 0;
  const known = new Map();
  const hand = figure("Formula (ELS)"), network = figure("Trained network");
  const said = make("p.fingers-said", { "aria-live": "polite" }), level = make("p.soft.number.fingers-level");
  const size = make("input", { type: "range", min: "0", max: String(WINDOWS.length - 1), step: "1", oninput: () => moved() }), sizeText = make("output.number.fingers-output");
  const when = make("input", { type: "range", min: "0", max: String(WHEN.length - 1), step: "1", oninput: () => moved() }), whenText = make("output.number.fingers-output");
  const calibrated = make("button", { type: "button", onclick: () => change({ window: null, when: null }) }, "Back to the network's windows");
  const dice = make("button", { type: "button", onclick: () => change({ seed: Math.floor(Math.random() * 1e6) }) }, "Other hand");
  const list = make("ul.fingers-gallery"), progress = make("p.soft", { "aria-live": "polite" });
  const more = make("button", { type: "button", onclick: () => find() }, "Search more seeds");
  const origins = make("div.fingers-origins", { "aria-live": "polite" });
  const node = make("section.fingers", {},
    make("h2", {}, "Why do generated hands have six fingers?"),
    make("p", {}, "All training hands have five fingers. Each pixel sees a window: as long as windows cover the hand, five fingers are placed together. Once windows have shrunk, every place decides alone what fits into its window, and nobody counts. Choose how small windows get, and how early."),
    make("div.bar", {}, labelled("Smallest window", size), sizeText, labelled("Shrinks at noise level", when), whenText, calibrated, live ? dice : null),
    make("div.fingers-pair", {}, hand.node, network.node, make("div", {}, said, level)),
    make("h3", {}, "Hands with a wrong number of fingers"), make("p.soft", {}, "The formula drew these hands, with the windows that were calibrated to the network; orange marks are the finger tips that image analysis counted. Below each: how many fingers the network drew from the same noise. Choose a hand to see which training hands each finger is from."),
    progress, list, live ? more : null, origins);

  function figure(title) {
    const canvas = make("canvas.fingers-picture", { "aria-hidden": "true" }), caption = make("span.soft");
    canvas.width = canvas.height = 32;
    return { canvas, caption, node: make("figure.fingers-figure", {}, canvas, make("figcaption", {}, make("b", {}, title), caption)) };
  }

  function change(changes) {
    Object.assign(state, changes);
    studio.set(changes);
    sliders();
    draw();
  }

  function moved() {
    state.window = WINDOWS[size.value];
    state.when = WHEN[when.value];
    studio.set({ window: state.window, when: state.when });
    sliders();
    clearTimeout(timer);
    timer = setTimeout(draw, 150);
  }

  function sliders() {
    const near = (list, value, usual) => Math.max(0, list.indexOf(value ?? usual));
    size.value = String(near(WINDOWS, state.window, live ? 7 : 9));
    when.value = String(near(WHEN, state.when, 2));
    sizeText.textContent = state.window === null ? "calibrated" : `${state.window} × ${state.window} pixels`;
    whenText.textContent = state.when === null ? "calibrated" : state.when >= 8 ? `${state.when} (early)` : state.when <= 0.3 ? `${state.when} (late)` : String(state.when);
  }

  const hands = (count) => `${count} ${count === 1 ? "hand" : "hands"}`;
  const words = (count) => `${count} ${count === 1 ? "finger" : "fingers"}`;

  async function draw() {
    said.textContent = "Drawing …";
    hand.caption.textContent = network.caption.textContent = " ";
    try {
      await drawing.ask("fingers", { seed: state.seed, window: state.window, when: state.when }, (message) => {
        if (message.x0) {
          paint(hand.canvas, decode(message.x0));
          level.textContent = `sigma ${message.sigma.toPrecision(2)}, window of ${message.window > 64 ? "the whole picture" : `${message.window} × ${message.window}`}`;
          return;
        }
        for (const [one, found] of [[hand, message.hand], [network, message.network]]) {
          paint(one.canvas, decode(found.image));
          markTips(one.canvas, found.tips);
          one.caption.textContent = words(found.count);
        }
        said.textContent = message.hand.count === 5 ? "Five fingers: the windows were large for long enough." : `${words(message.hand.count)[0].toUpperCase()}${words(message.hand.count).slice(1)}: every part looks right, but nobody counted.`;
      });
    } catch (error) {
      said.textContent = error.message;
    }
  }

  /** The question which patches made a hand: of its last step. */
  function explanationOf(seed) {
    const draw = { subject: "hands", machines: ["els"], seeds: [seed], label: null, steps: STEPS };
    return { draw, machine: "els", seed, step: STEPS - 1, ...(live ? {} : { top: studio.about.recorded_top }) };
  }

  function choose(found) {
    studio.set({ hand: found.seed });
    showHand();
    origins.scrollIntoView({ block: "nearest" });
  }

  /** The hand of the state, if the search has found it. */
  function showHand() {
    for (const button of list.querySelectorAll("button")) button.setAttribute("aria-pressed", String(Number(button.dataset.seed) === state.hand));
    if (known.has(state.hand)) explain(known.get(state.hand));
    else origins.replaceChildren();
  }

  /** Where the fingers of a hand are from: a button for each finger tip, and the explanation view. */
  async function explain(found) {
    origins.replaceChildren(make("p.soft", {}, "Looking for the patches …"));
    try {
      await explaining.ask("explain", explanationOf(found.seed), ({ mosaic }) => {
        const view = mosaicView(mosaic), tips = [...found.tips].sort((one, other) => one[1] - other[1]);
        const hands = tips.map(([row, column]) => view.mainSource(row, column));
        const buttons = tips.map(([row, column], i) => make("button", { type: "button", "aria-pressed": "false", onclick: () => {
          buttons.forEach((button, j) => button.setAttribute("aria-pressed", String(i === j)));
          view.select(row, column);
        } }, `Finger ${i + 1}: hand ${hands[i].id} (${percent(hands[i].weight)})`));
        const different = new Set(hands.map((hand) => hand.id)).size, side = mosaic.window;
        origins.replaceChildren(
          make("h3", {}, `Where the ${words(found.count)} of the chosen hand (seed ${found.seed}) are from`),
          make("p", {}, `${different === 1 ? "All tips are from one training hand" : `The tips of these ${words(found.count)} are from ${different} different training hands`}. Each was chosen by what fits into a window of ${side} × ${side} pixels around it; in the last step no window saw all fingers, and every one of these training hands has five.`),
          make("div.bar", { role: "group", "aria-label": "Fingers" }, ...buttons), view.node);
        buttons[0]?.click();
      });
    } catch (error) {
      origins.replaceChildren(make("p.soft", {}, error.message));
    }
  }

  async function find() {
    search.cancel();
    if (!live) {
      searched = 0;
      list.replaceChildren();
    }
    const first = searched, count = live ? 24 - (searched % 24) : 24;
    more.disabled = true;
    try {
      await search.ask("gallery", { first, count }, (message) => {
        // An interrupted search goes on where it was left.
        searched = Math.max(searched, first + message.searched);
        progress.textContent = `Searched ${first + message.searched} of ${first + count} seeds: ${hands(list.children.length + message.found.length)} with a wrong number.`;
        for (const found of message.found) {
          known.set(found.seed, found);
          const canvas = make("canvas.fingers-small", { "aria-hidden": "true" });
          paint(canvas, decode(found.image));
          markTips(canvas, found.tips);
          list.append(make("li", {}, live || studio.source.has("explain", explanationOf(found.seed))
            ? make("button.fingers-choose", { type: "button", "data-seed": String(found.seed), "aria-pressed": String(state.hand === found.seed), "aria-label": `Seed ${found.seed}: ${words(found.count)}. Show where its fingers are from.`, onclick: () => choose(found) }, canvas, make("span", {}, words(found.count)), make("small.soft", {}, `network: ${found.network}`))
            : make("figure.fingers-figure", {}, canvas, make("figcaption", {}, words(found.count), make("small.soft", {}, `network: ${found.network}`)))));
          if (state.hand === found.seed) explain(found);
        }
      });
    } catch (error) {
      progress.textContent = error.message;
    } finally {
      more.disabled = false;
    }
  }

  return { node, defaults, fits, async show(next) {
    state = next;
    sliders();
    showHand();
    await draw();
    // The view may have been left meanwhile.
    if (node.isConnected && searched < 24) await find();
  }, hide() {
    drawing.cancel();
    search.cancel();
    explaining.cancel();
    clearTimeout(timer);
  } };
}
