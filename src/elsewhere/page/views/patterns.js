import { decode } from "../arrays.js";
import { chooser, decimal, make } from "../dom.js";
import { GrayScott } from "../gray_scott.js";
import { paint } from "../paint.js";

const SIDE = 64, RADIUS = 8, STEPS_A_FRAME = 24, FULL = 8000, MOST_DISCS = 60;
const KINDS = [["spots", "spots"], ["stripes", "stripes"], ["labyrinth", "labyrinth"], ["holes", "holes"]];

/** Morphogenesis: reaction-diffusion in the page beside machines that grow and heal the same pattern. */
export function patternsView(studio) {
  const defaults = { pattern: "spots", seed: 0, wound: [] };
  const live = !studio.source.recorded;
  let state = { ...defaults }, system = null, frame = 0, time = 0, grown = { els: null, is: null }, work = null, cursor = [32, 32], drawn = "";
  const panels = {
    reaction: panel("reaction", "Reaction-diffusion", "Two substances react and diffuse. It runs in your browser."),
    els: panel("els", "ELS: local, any place", "It knows one pattern, and starts from noise."),
    is: panel("is", "IS: remembers", "It knows 16 whole patterns, and starts from the same noise."),
  };
  const said = make("p.patterns-said", { "aria-live": "polite" });
  const play = make("button.primary", { type: "button", onclick: () => grow() }, "Grow"), pause = make("button", { type: "button", "aria-pressed": "false", onclick: () => toggle() }, "Pause");
  const cut = make("button", { type: "button", onclick: () => addDisc(32, 32) }, "Cut a wound"), healing = make("button", { type: "button", onclick: () => heal() }, "Heal");
  const other = make("button", { type: "button", onclick: () => change({ seed: (state.seed + 1) % 1000, wound: [] }) }, "Other seed");
  const choice = make("span");
  const node = make("section.patterns", {},
    make("h2", {}, "How does a leopard get its spots?"),
    make("p", {}, "In Turing’s answer every place follows the same local rule, and noise decides where the spots are. The local machine does the same: each pixel is a mean of windows from one example. The machine that only remembers whole pictures makes no new pattern, and cannot heal one."),
    make("div.bar", {}, choice, play, pause, live ? other : null, cut, healing),
    make("div.patterns-panels", {}, ...Object.values(panels).map((one) => one.node)), said,
    make("p.soft", {}, live ? "Drag over a picture to wound all three; with the keyboard, move the ring with the arrow keys and press space. Then press Heal." : "Press “Cut a wound”, then “Heal”: this page has recorded answers for one wound. Run elsewhere studio to cut your own."));

  function panel(name, title, words) {
    const canvas = make("canvas.patterns-picture", { "aria-hidden": "true" });
    canvas.width = canvas.height = SIDE;
    const marks = make("canvas.patterns-marks", { tabIndex: 0, role: "img", "aria-label": `${title}. Arrow keys move a ring, space cuts a wound.` });
    marks.width = marks.height = SIDE * 4;
    const measured = make("p.number.soft.patterns-measured");
    const place = (event) => {
      const box = marks.getBoundingClientRect();
      return [event.clientY - box.top, event.clientX - box.left].map((value, i) => Math.max(0, Math.min(SIDE - 1, Math.floor((value / [box.height, box.width][i]) * SIDE))));
    };
    marks.addEventListener("pointerdown", (event) => {
      if (!live) return;
      marks.setPointerCapture(event.pointerId);
      addDisc(...place(event));
    });
    marks.addEventListener("pointermove", (event) => { if (live && event.buttons) addDisc(...place(event)); });
    marks.addEventListener("focus", () => mark());
    marks.addEventListener("blur", () => mark());
    marks.addEventListener("keydown", (event) => {
      const by = { ArrowUp: [-4, 0], ArrowDown: [4, 0], ArrowLeft: [0, -4], ArrowRight: [0, 4] }[event.key];
      if (by) cursor = cursor.map((value, i) => (value + by[i] + SIDE) % SIDE);
      else if (event.key === " ") addDisc(...(live ? cursor : [32, 32]));
      else return;
      event.preventDefault();
      mark();
    });
    const stage = make("div.patterns-stage", {}, canvas, marks);
    return { canvas, marks, measured, node: make("figure.patterns-panel", {}, stage, make("figcaption", {}, make("b", {}, title), make("span.soft", {}, words), measured)) };
  }

  const mask = () => {
    const wound = new Uint8Array(SIDE * SIDE);
    for (const [row, column, radius] of state.wound) {
      for (let r = -radius; r <= radius; r++) for (let c = -radius; c <= radius; c++) if (r * r + c * c <= radius * radius) wound[((row + r + SIDE) % SIDE) * SIDE + ((column + c + SIDE) % SIDE)] = 1;
    }
    return wound;
  };

  function addDisc(row, column) {
    const radius = live ? RADIUS : 10, last = state.wound.at(-1);
    if (!live && state.wound.length) return;
    if (state.wound.length >= MOST_DISCS || (last && (last[0] - row) ** 2 + (last[1] - column) ** 2 < 9)) return;
    state.wound = [...state.wound, [row, column, radius]];
    studio.set({ wound: state.wound });
    system?.wound(mask());
    said.textContent = "Wounded. The reaction goes on by itself; press Heal for the two machines.";
    mark();
  }

  /** The wound in gray over the machines' pictures, and the ring of the keyboard. */
  function mark() {
    const wound = mask();
    for (const [name, one] of Object.entries(panels)) {
      const pen = one.marks.getContext("2d");
      pen.clearRect(0, 0, SIDE * 4, SIDE * 4);
      if (name !== "reaction" && !one.healed) {
        pen.fillStyle = "#808080";
        wound.forEach((inside, i) => { if (inside) pen.fillRect((i % SIDE) * 4, Math.floor(i / SIDE) * 4, 4, 4); });
      }
      if (document.activeElement === one.marks) {
        pen.strokeStyle = "#d55e00";
        pen.lineWidth = 4;
        pen.beginPath();
        pen.arc(cursor[1] * 4 + 2, cursor[0] * 4 + 2, RADIUS * 4, 0, 7);
        pen.stroke();
      }
    }
  }

  function change(changes) {
    Object.assign(state, changes);
    studio.set(changes);
    grow();
  }

  function begin() {
    work?.abort();
    for (const one of Object.values(panels)) one.healed = false;
    return (work = new AbortController());
  }

  async function grow() {
    const mine = begin();
    state.wound = [];
    studio.set({ wound: [] });
    drawn = `${state.pattern} ${state.seed}`;
    mark();
    said.textContent = "Growing …";
    for (const one of Object.values(panels)) one.measured.textContent = "";
    try {
      await studio.source.ask("grow", { pattern: state.pattern, seed: state.seed }, (message) => {
        if (mine !== work) return;
        if (message.rates) {
          system = new GrayScott(SIDE, message.rates);
          system.scatter(state.seed + 1);
          time = 0;
          animate();
        }
        for (const name of ["els", "is"]) if (message[name]) show(name, message[name]);
        if (message.measured) for (const name of ["els", "is"]) tell(name, message.measured[name]);
      }, mine.signal);
      said.textContent = "All three have the pattern. Only the first two made it anew: IS shows one of the 16 patterns that it knows. Now cut a wound.";
    } catch (error) {
      if (error.name !== "AbortError") said.textContent = error.message;
    }
  }

  const show = (name, packed) => {
    grown[name] = { shape: [1, SIDE, SIDE], values: decode(packed).values };
    paint(panels[name].canvas, grown[name]);
  };
  const tell = (name, found, misfit = null) => (panels[name].measured.textContent = `${found.kind}, wavelength ${decimal(found.wavelength, 1)} pixels${misfit === null ? "" : `, misfit around the wound ${decimal(misfit, 2)}`}`);

  async function heal() {
    if (!state.wound.length) {
      said.textContent = "There is no wound yet: drag over a picture.";
      return;
    }
    const mine = begin();
    said.textContent = "Healing: both machines get the same wounded picture, the one that ELS grew …";
    const misfits = {};
    try {
      await studio.source.ask("heal", { pattern: state.pattern, seed: state.seed, wound: state.wound }, (message) => {
        if (mine !== work) return;
        panels[message.machine].healed = true;
        if (message.before) show(message.machine, message.before);
        if (message.image) show(message.machine, message.image);
        if (message.measured) {
          misfits[message.machine] = message.misfit;
          tell(message.machine, message.measured, message.misfit);
        }
        mark();
      }, mine.signal);
      const factor = misfits.is / misfits.els;
      said.textContent = factor > 1.05
        ? `Both filled the same wounded picture. The local machine found windows that fit: around the wound they are ${decimal(factor, 1)} times closer to the example than those of the machine that remembers, whose pieces of known pictures do not meet the rest.`
        : `Both machines filled the wound: their windows around it are about equally close to the example (${decimal(misfits.els, 2)} and ${decimal(misfits.is, 2)}).`;
    } catch (error) {
      if (error.name !== "AbortError") said.textContent = error.message;
    }
  }

  function animate() {
    cancelAnimationFrame(frame);
    const step = () => {
      if (!system || pause.getAttribute("aria-pressed") === "true") return;
      system.evolve(STEPS_A_FRAME);
      time += STEPS_A_FRAME;
      paint(panels.reaction.canvas, system.image());
      panels.reaction.measured.textContent = `time ${time}${time < FULL ? "" : ", settled"}`;
      frame = requestAnimationFrame(step);
    };
    step();
  }

  function toggle() {
    const now = pause.getAttribute("aria-pressed") !== "true";
    pause.setAttribute("aria-pressed", String(now));
    if (!now) animate();
  }

  return { node, defaults, async show(next) {
    const wound = next.wound;
    state = next;
    choice.replaceChildren(chooser("Pattern", "patterns-kind", KINDS, state.pattern, (pattern) => change({ pattern, wound: [] })));
    if (drawn !== `${state.pattern} ${state.seed}`) {
      await grow();
      if (wound.length) {
        state.wound = wound;
        studio.set({ wound });
        system?.wound(mask());
        mark();
      }
    } else animate();
  }, hide() {
    cancelAnimationFrame(frame);
    work?.abort();
  } };
}
