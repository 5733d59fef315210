import { whole } from "../address.js";
import { decode, pick } from "../arrays.js";
import { lessMotion, make } from "../dom.js";
import { mosaicView } from "../mosaic.js";
import { markTips, paint, range } from "../paint.js";
import { Latest } from "../source.js";

/** A guided tour: each step is a card that reads well alone, with one picture that is computed live: the steps of the default
 * drawing, or what a question of another view answers. */
const CARDS = [
  ["Noise", "Everything starts here: every pixel is a random number. There is no picture in it yet. With the same machine and the same steps, the same noise always gives the same picture.", { machine: "network", step: 0, shown: "x", caption: "four pictures of pure noise" }],
  ["Removing noise", "A network was trained to guess the clean picture behind a noisy one. Its first guess is a blur, about the mean of all training pictures of this kind. A little noise is removed, and the network guesses again. After twenty guesses the picture is sharp.", { machine: "network", film: true, both: true }],
  ["The perfect denoiser only remembers", "For a given set of training pictures, the best possible guess is a formula: a mean of all training pictures, weighted by how well each fits the noisy one. Used to the end, it gives back a training picture. A network that was perfect on its training pictures would be a copying machine.", { machine: "is", film: true, link: ["#copied?example=remembered", "Check that these are copies"] }],
  ["Windows", "Real networks are not perfect. Many are built from small filters, convolutions, each of which sees only a small window around a pixel. Let each pixel be a mean over the training windows that fit its own window: now different pixels can follow different training pictures.", { machine: "ls", film: true }],
  ["Any place will do", "A filter also treats all places alike. So the windows of a pixel may come from anywhere in the training pictures: a sleeve can be made of a collar. This formula needs no training, and from the same noise it often draws close to what the trained network draws: compare the rows.", { machine: "els", film: true, beside: "network" }],
  ["A mosaic", "So the picture is a mosaic of training patches, and the formula says which. Move the pointer over the picture: you see the patches of each pixel, with their weights and the training pictures that they are from.", { shows: "mosaic", link: ["#draw?explain=\"els\"&seed=0", "Explain other pictures"] }],
  ["Extra fingers", "Windows know what a finger looks like, but not how many there are. At high noise the windows must be large enough to place five fingers; if they shrink too early, each place decides alone, and a sixth finger fits as well as the fifth. Count the fingers of the hand that grows here; orange dots mark the tips.", { shows: "hand", link: ["#fingers", "Draw hands"] }],
  ["Spots and stripes", "Nature does the same. In Turing's explanation of the leopard's spots, every place follows one local rule, and noise decides the rest. The local machine grows such patterns from one example, and heals wounds in them. On the left is the example; on the right a new pattern grows from noise.", { shows: "pattern", link: ["#patterns", "Grow and wound patterns"] }],
];

/** The tour. */
export function tourView(studio) {
  const defaults = { card: 0 }, fits = { card: whole(0, CARDS.length - 1) }, usual = studio.about.subject.drawing, last = usual.steps - 1;
  const asking = new Latest(studio.source);
  let state = { ...defaults }, frames = null, player = 0, work = null;
  const title = make("h2"), text = make("p.tour-text"), stage = make("div.tour-stage"), where = make("p.soft");
  const back = make("button", { type: "button", onclick: () => go(-1) }, "Back"), next = make("button.primary", { type: "button", onclick: () => go(1) }, "Next");
  const pause = make("button", { type: "button", "aria-pressed": "false", onclick: () => pause.setAttribute("aria-pressed", String(pause.getAttribute("aria-pressed") !== "true")) }, "Pause");
  const node = make("section.tour", { tabIndex: -1, onkeydown: (event) => {
    if (event.key === "ArrowRight") go(1);
    if (event.key === "ArrowLeft") go(-1);
  } }, make("div.panel.tour-card", {}, make("div", { "aria-live": "polite" }, where, title, text), stage), make("div.bar", {}, back, next));

  function go(by) {
    if (state.card + by === CARDS.length) location.hash = "#draw";
    const card = Math.max(0, Math.min(CARDS.length - 1, state.card + by));
    if (card === state.card) return;
    state.card = card;
    studio.set({ card });
    show(state).catch(studio.fail);
    // The button that was pressed may be disabled now: the keys go on working.
    node.focus();
  }

  /** The default drawing of the draw view, asked for once. */
  function drawing() {
    return (frames ||= (async () => {
      const found = {};
      work = new AbortController();
      await studio.source.ask("draw", usual, (message) => {
        if (message.machine) (found[message.machine] ||= []).push({ x: decode(message.x), x0: decode(message.x0), sigma: message.sigma });
        else studio.say("Drawing the pictures of the tour …");
      }, work.signal);
      studio.say("");
      return found;
    })().catch((error) => {
      frames = null;
      throw error;
    }));
  }

  async function show(given) {
    state = given;
    clearInterval(player);
    const number = state.card, [heading, words, picture] = CARDS[number];
    where.textContent = `Step ${number + 1} of ${CARDS.length}`;
    title.textContent = heading;
    text.textContent = words;
    back.disabled = number === 0;
    next.textContent = number === CARDS.length - 1 ? "Now draw your own" : "Next";
    const link = picture.link ? make("p", {}, make("a", { href: picture.link[0] }, picture.link[1])) : null;
    stage.replaceChildren(make("p.soft", {}, "One moment …"));
    asking.cancel();
    if (picture.shows) return ILLUSTRATIONS[picture.shows](link);
    const found = await drawing();
    if (number !== state.card) return;
    const machines = [picture.machine, picture.beside].filter((one) => one && found[one]);
    if (!machines.length) return stage.replaceChildren(make("p.soft", {}, "There is no network for these pictures."));
    const shown = picture.both ? [[machines[0], "x", "what the network sees"], [machines[0], "x0", "what it guesses"]] : machines.map((name) => [name, picture.shown || "x0", picture.caption || TITLES[name]]);
    const rows = shown.map(([name, part, caption]) => ({ name, part, caption, cells: usual.seeds.map(() => make("canvas.tour-cell", { "aria-hidden": "true" })) }));
    const level = make("p.soft.number.tour-level");
    stage.replaceChildren(...rows.map((row) => make("figure.tour-row", {}, make("div.tour-cells", {}, ...row.cells), make("figcaption.soft", {}, row.caption))), make("div.bar", {}, level, picture.film && !lessMotion() ? pause : ""), ...(link ? [link] : []));
    const draw = (step) => {
      for (const row of rows) row.cells.forEach((cell, i) => {
        const frame = found[row.name][step];
        paint(cell, pick(frame[row.part], i), row.part === "x" ? range(frame.sigma) : 1);
      });
      level.textContent = picture.film ? `guess ${step + 1} of ${usual.steps}` : "";
    };
    if (!picture.film || lessMotion()) return draw(picture.step ?? last);
    let step = 0;
    draw(0);
    player = setInterval(() => {
      if (pause.getAttribute("aria-pressed") === "true") return;
      // The last picture stays for a while.
      step = (step + 1) % (usual.steps + 8);
      draw(Math.min(last, step));
    }, 200);
  }

  /** A picture with its caption, 1 x H x W or 3 x H x W. */
  const figure = (caption) => {
    const canvas = make("canvas.tour-large", { "aria-hidden": "true" });
    return { canvas, node: make("figure.tour-figure", {}, canvas, make("figcaption.soft", {}, caption)) };
  };

  const ILLUSTRATIONS = {
    async mosaic(link) {
      const recorded = studio.source.recorded ? { top: studio.about.recorded_top } : {};
      await asking.ask("explain", { draw: usual, machine: "els", seed: usual.seeds[0], step: last, ...recorded }, ({ mosaic }) => stage.replaceChildren(mosaicView(mosaic).node, link));
    },
    async hand(link) {
      const ours = figure("windows, calibrated to the network"), theirs = figure("trained network"), said = make("p.number", { "aria-live": "polite" }, " ");
      theirs.node.hidden = true;
      stage.replaceChildren(make("div.tour-pair", {}, ours.node, theirs.node), said, link);
      await asking.ask("fingers", { seed: HAND }, (message) => {
        if (message.x0) {
          said.textContent = `guess ${message.step + 1} of ${usual.steps}`;
          paint(ours.canvas, decode(message.x0));
          return;
        }
        theirs.node.hidden = false;
        for (const [one, found] of [[ours, message.hand], [theirs, message.network]]) markTips(paint(one.canvas, decode(found.image)), found.tips);
        said.textContent = `The formula drew ${message.hand.count} fingers, the trained network ${message.network.count}.`;
      });
    },
    async pattern(link) {
      const example = figure("the one example"), grown = figure("grown from noise");
      stage.replaceChildren(make("div.tour-pair", {}, example.node, grown.node), link);
      const square = (packed) => ({ shape: [1, ...packed.shape], values: decode(packed).values });
      await asking.ask("grow", { pattern: "spots", seed: 0 }, (message) => {
        if (message.original) paint(example.canvas, square(message.original));
        if (message.els) paint(grown.canvas, square(message.els));
      });
    },
  };

  return { node, defaults, fits, show, hide() {
    clearInterval(player);
    asking.cancel();
    work?.abort();
  } };
}

/** A seed whose hand has six fingers. */
const HAND = 1;

const TITLES = { network: "trained network", is: "the perfect denoiser", ls: "windows at the same place", els: "windows from any place" };
