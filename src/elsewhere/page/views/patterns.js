import { each, listOf, oneOf, whole } from "../address.js";
import { decode } from "../arrays.js";
import { chooser, decimal, labelled, lessMotion, make } from "../dom.js";
import { GrayScott } from "../gray_scott.js";
import { paint } from "../paint.js";
import { Latest } from "../source.js";

const SIDE = 64, RADIUS = 8, STEPS_A_FRAME = 24, FULL = 8000, MOST_DISCS = 60, MOST_SEED = 10000;
/** How many times closer the local machine must be for the page to say that it healed better. */
const PLAIN = 1.3;
const KINDS = [["spots", "spots"], ["stripes", "stripes"], ["labyrinth", "labyrinth"], ["holes", "holes"]];

/** Morphogenesis: reaction-diffusion in the page beside machines that grow and heal the same pattern. */
export function patternsView(studio) {
  const defaults = { pattern: "spots", seed: 0, wound: [] };
  const live = !studio.source.recorded;
  const place = whole(0, SIDE - 1);
  const fits = { pattern: oneOf(KINDS.map(([kind]) => kind)), seed: whole(0, 10000), wound: listOf(each(place, place, place), 0, MOST_DISCS) };
  const answer = new Latest(studio.source);
  // `drawn` is the pattern and seed of complete pictures, `healed` the machines whose pictures are healed.
  let state = { ...defaults }, system = null, frame = 0, time = 0, cursor = [32, 32], drawn = "", healed = new Set();
  const panels = {
    reaction: panel("reaction", "Reaction-diffusion", "Two substances react and diffuse. It runs in your browser."),
    els: panel("els", "ELS: local, any place", "It knows one pattern, and starts from noise."),
    is: panel("is", "IS: remembers", "It knows 16 whole patterns, and starts from the same noise."),
  };
  const said = make("p.patterns-said", { "aria-live": "polite" });
  const play = make("button.primary", { type: "button", onclick: () => grow() }, "Grow"), pause = make("button", { type: "button", "aria-pressed": "false", onclick: () => toggle() }, "Pause");
  const cut = make("button", { type: "button", onclick: () => addDisc(32, 32) }, "Cut a wound"), healing = make("button", { type: "button", onclick: () => heal() }, "Heal");
  const seed = make("input.patterns-seed.number", { type: "number", min: "0", max: String(MOST_SEED), step: "1", onchange: () => {
    const found = Number(seed.value);
    if (seed.value !== "" && Number.isInteger(found) && found >= 0 && found <= MOST_SEED) change({ seed: found, wound: [] });
    else said.textContent = `The seed must be a whole number from 0 to ${MOST_SEED}.`;
  } });
  const choice = make("span");
  const node = make("section.patterns", {},
    make("h2", {}, "How does a leopard get its spots?"),
    make("p", {}, "In Turing’s answer every place follows the same local rule, and noise decides where the spots are. The local machine does the same: each pixel is a mean of windows from one example. The machine that only remembers whole pictures makes no new pattern, and what it fills in often does not meet the rest."),
    make("div.bar", {}, choice, play, pause, live ? labelled("Seed", seed) : null, cut, healing),
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
    const inside = new Uint8Array(SIDE * SIDE);
    for (const [row, column, radius] of state.wound) {
      for (let r = -radius; r <= radius; r++) for (let c = -radius; c <= radius; c++) if (r * r + c * c <= radius * radius) inside[((row + r + SIDE) % SIDE) * SIDE + ((column + c + SIDE) % SIDE)] = 1;
    }
    return inside;
  };

  function addDisc(row, column) {
    const radius = live ? RADIUS : 10, last = state.wound.at(-1);
    if (!drawn || (!live && state.wound.length)) return;
    if (state.wound.length >= MOST_DISCS || (last && (last[0] - row) ** 2 + (last[1] - column) ** 2 < 9)) return;
    answer.cancel();
    wound([...state.wound, [row, column, radius]]);
    said.textContent = "Wounded. The reaction goes on by itself; press Heal for the two machines.";
  }

  /** Cut discs out of all three pictures. */
  function wound(discs) {
    healed.clear();
    state.wound = discs;
    studio.set({ wound: discs });
    system?.wound(mask());
    mark();
  }

  /** The wound in gray over the machines' pictures, and the ring of the keyboard. */
  function mark() {
    const inside = mask();
    for (const [name, one] of Object.entries(panels)) {
      const pen = one.marks.getContext("2d");
      pen.clearRect(0, 0, SIDE * 4, SIDE * 4);
      if (name !== "reaction" && !healed.has(name)) {
        pen.fillStyle = "#808080";
        inside.forEach((one, i) => { if (one) pen.fillRect((i % SIDE) * 4, Math.floor(i / SIDE) * 4, 4, 4); });
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

  const key = () => `${state.pattern} ${state.seed}`;

  /** Grow the pattern in all three; true if it was not cancelled. */
  async function grow() {
    const growing = key();
    drawn = "";
    cut.disabled = healing.disabled = true;
    wound([]);
    said.textContent = "Growing …";
    for (const one of Object.values(panels)) one.measured.textContent = "";
    try {
      const complete = await answer.ask("grow", { pattern: state.pattern, seed: state.seed }, (message) => {
        if (message.rates) {
          system = new GrayScott(SIDE, message.rates);
          system.scatter(state.seed + 1);
          time = 0;
          animate();
        }
        for (const name of ["els", "is"]) if (message[name]) show(name, message[name]);
        if (message.measured) for (const name of ["els", "is"]) tell(name, message.measured[name]);
      });
      if (!complete) return false;
      drawn = growing;
      cut.disabled = healing.disabled = false;
      said.textContent = "All three have the pattern. Only the first two made it anew: IS shows one of the 16 patterns that it knows. Now cut a wound.";
      return true;
    } catch (error) {
      said.textContent = error.message;
      return false;
    }
  }

  const show = (name, packed) => paint(panels[name].canvas, { shape: [1, SIDE, SIDE], values: decode(packed).values });
  const tell = (name, found, misfit = null) => (panels[name].measured.textContent = `${found.kind}, wavelength ${decimal(found.wavelength, 1)} pixels${misfit === null ? "" : `, misfit around the wound ${decimal(misfit, 2)}`}`);

  async function heal() {
    if (!state.wound.length) {
      said.textContent = "There is no wound yet: drag over a picture.";
      return;
    }
    said.textContent = "Healing: both machines get the same wounded picture, the one that ELS grew …";
    const misfits = {};
    try {
      const complete = await answer.ask("heal", { pattern: state.pattern, seed: state.seed, wound: state.wound }, (message) => {
        healed.add(message.machine);
        if (message.before) show(message.machine, message.before);
        if (message.image) show(message.machine, message.image);
        if (message.measured) {
          misfits[message.machine] = message.misfit;
          tell(message.machine, message.measured, message.misfit);
        }
        mark();
      });
      if (!complete) {
        healed.clear();
        said.textContent = "Healing was stopped: press Heal to begin again.";
        return mark();
      }
      const factor = misfits.is / misfits.els;
      said.textContent = factor > PLAIN
        ? `Both filled the same wounded picture. The local machine found windows that fit: around the wound they are ${decimal(factor, 1)} times closer to the example than those of the machine that remembers, whose pieces of known pictures do not meet the rest.`
        : `Both machines filled the wound: here their windows around it are about equally close to the example (${decimal(misfits.els, 2)} and ${decimal(misfits.is, 2)}). Try a larger wound, or stripes.`;
    } catch (error) {
      said.textContent = error.message;
    }
  }

  function animate() {
    cancelAnimationFrame(frame);
    const step = () => {
      if (!system || pause.getAttribute("aria-pressed") === "true") return;
      // Readers who asked for less motion see the pattern when it has formed.
      const steps = lessMotion() && time < FULL ? FULL : STEPS_A_FRAME;
      system.evolve(steps);
      time += steps;
      paint(panels.reaction.canvas, system.image());
      panels.reaction.measured.textContent = `time ${time}${time < FULL ? "" : ", settled"}`;
      if (!lessMotion()) frame = requestAnimationFrame(step);
    };
    step();
  }

  function toggle() {
    const now = pause.getAttribute("aria-pressed") !== "true";
    pause.setAttribute("aria-pressed", String(now));
    if (!now) animate();
  }

  return { node, defaults, fits, async show(next) {
    const asked = next.wound, shown = JSON.stringify(state.wound);
    state = next;
    choice.replaceChildren(chooser("Pattern", "patterns-kind", KINDS, state.pattern, (pattern) => change({ pattern, wound: [] })));
    seed.value = String(state.seed);
    if (drawn === key()) {
      animate();
      if (JSON.stringify(asked) !== shown) wound(asked);
    } else if ((await grow()) && asked.length) {
      wound(asked);
      said.textContent = "Wounded, as the address says: press Heal.";
    }
  }, hide() {
    cancelAnimationFrame(frame);
    answer.cancel();
  } };
}
