import { each, either, LARGEST_SEED, listOf, oneOf, whole } from "../address.js";
import { decode, nested, pick } from "../arrays.js";
import { curves } from "../curves.js";
import { chooser, decimal, labelled, lessMotion, make } from "../dom.js";
import { mosaicView } from "../mosaic.js";
import { OWN, ownPictures, subjectSelect } from "../own.js";
import { paint, range } from "../paint.js";
import { scheduleEditor } from "../schedule_editor.js";
import { Latest } from "../source.js";
import { pythonLines, saveFilm, saveGif, saveJson, savePicture } from "../take_away.js";

const TITLES = { network: "Trained network", is: "Remembers pictures (IS)", ls: "Windows, same place (LS)", els: "Windows, any place (ELS)", wiener: "Linear filter (Wiener)" };
const HELP = {
  network: "A convolutional network that was trained on these images.",
  is: "The perfect denoiser of the training images. It can only draw training images.",
  ls: "Each pixel sees a window, and compares it with the same place of every training image.",
  els: "Each pixel sees a window, and compares it with all places of every training image.",
  wiener: "The best linear denoiser: it knows mean and covariance of the training images.",
};
const NOISE_STROKE = 3, MOST_STROKES = 64, MOST_ROWS = 12;

/** Draw: machines and the network denoise the same noise; scrub, change, explain, take away. */
export function drawView(studio) {
  const usual = studio.about.subject.drawing;
  const defaults = {
    subject: usual.subject, machines: null, seeds: usual.seeds, label: 0, steps: usual.steps, window: null, strokes: [],
    step: null, shown: "x0", measure: "r", seed: 0, explain: null,
  };
  const none = oneOf([null]), name = (value) => typeof value === "string", seed = whole(0, LARGEST_SEED), side = (value) => whole(1, 255)(value) && value % 2 === 1;
  const fits = {
    subject: (value) => studio.about.subjects.includes(value), machines: either(none, listOf(name, 1, MOST_ROWS)), seeds: listOf(seed, 1, studio.about.most_seeds),
    label: either(none, whole(0, 2 ** 20)), steps: whole(1, 50), window: either(none, side, listOf(each(Number.isFinite, side), 1, 50)),
    strokes: listOf(each(...Array(3).fill(whole(0, 255)), seed), 0, MOST_STROKES), step: either(none, whole(0, 49)), shown: oneOf(["x0", "x"]), measure: oneOf(["r", "r2"]), seed: whole(0, 7), explain: either(none, name),
  };
  const drawing = new Latest(studio.source), explaining = new Latest(studio.source);
  // `drawn` and `explained` are the questions that frames and panel answer, as text; `player` and `waiting` are timers.
  let state = { ...defaults }, about = null, frames = {}, sigmas = [], drawn = "", explained = "", player = 0, waiting = 0, instead = "";

  const controls = make("div.bar"), rows = make("div.draw-rows"), problem = make("p.draw-problem", { role: "alert" });
  const slider = make("input.draw-scrub", { type: "range", min: "0", max: "19", value: "0", "aria-label": "Step of the denoising", oninput: () => scrub(Number(slider.value)) });
  const play = make("button.primary", { type: "button", disabled: true, onclick: () => (drawing.busy || player ? stop() : complete() ? replay() : run()) }, "Play");
  const level = make("output.number.draw-level");
  const shown = make("span");
  const time = make("div.bar.draw-time", {}, play, slider, level, shown);
  const plot = make("div.draw-plot"), measures = make("div.draw-measures", { hidden: true }), windows = make("details.panel", {}, make("summary", {}, "Windows at each noise level"));
  const editor = make("div.draw-editor");
  windows.append(editor);
  const undo = make("button", { type: "button", hidden: true, onclick: () => change({ strokes: [] }) }, "Undo repainting");
  const panel = make("div.draw-explain");
  const takeaway = make("div.bar.draw-takeaway");
  const lines = make("pre.draw-lines", { tabIndex: 0, hidden: true, "aria-label": "Python lines that reproduce this" });
  const node = make("section.draw", {},
    make("h2", {}, "Draw from the same noise"),
    make("p.soft", {}, "In each column all start from the same noise. Press Play, move the slider, and click a picture to see where its pixels come from."),
    controls, studio.source.recorded ? null : ownPictures(studio, (name) => select(name)), problem,
    make("div.draw-columns", {},
      make("div", {}, time, rows, make("h3", {}, "Take it away"), takeaway, lines, plot, measures, windows),
      make("div", {}, make("h3", {}, "Where does it come from?"), panel)));

  const question = () => ({
    subject: state.subject, machines: machines(), seeds: state.seeds, label: about.class_count ? state.label : null, steps: state.steps,
    window: state.window, strokes: state.strokes.length ? state.strokes : null,
  });
  const machines = () => {
    const found = (state.machines || []).filter((name) => about.drawers.includes(name));
    return found.length ? found : about.drawing.machines;
  };
  const live = () => !studio.source.recorded;
  const titleOf = (name) => TITLES[name] || `the ${about.titles[name]} machine`;
  const order = () => [...machines()].sort((a, b) => (a === "network" ? -1 : b === "network" ? 1 : 0));
  const complete = () => drawn === JSON.stringify(question()) && order().every((name) => (frames[name] || []).length === state.steps);

  function change(changes, redraw = true) {
    Object.assign(state, changes);
    studio.set(changes);
    undo.hidden = !live() || !state.strokes.length;
    if (about && !lines.hidden) lines.textContent = pythonLines(question(), about);
    if (redraw) run();
  }

  function stop() {
    drawing.cancel();
    clearInterval(player);
    player = 0;
    play.textContent = "Play";
  }

  /** Draw what the state says, streaming. */
  async function run() {
    stop();
    problem.textContent = "";
    const asked = question();
    if (complete()) return show_step();
    drawn = JSON.stringify(asked);
    frames = {};
    explained = "";
    play.textContent = "Stop";
    studio.say("Waiting for the first step …");
    layoutRows();
    available();
    const began = performance.now();
    try {
      const done = await drawing.ask("draw", asked, (message) => {
        if (message.start) {
          sigmas = message.start.sigmas;
          slider.max = String(state.steps - 1);
          return;
        }
        (frames[message.machine] ||= [])[message.step] = { ...message, x: decode(message.x), x0: decode(message.x0) };
        if (message.step === 0) paintNoise();
        const common = Math.min(...order().map((name) => (frames[name] || []).length));
        studio.say(`Step ${message.step + 1} of ${state.steps}: ${timeLeft(began, order().reduce((sum, name) => sum + (frames[name] || []).length, 0), order().length * state.steps)}`);
        if (state.step === null && common) show_step(common - 1);
      });
      if (!done) return;
      studio.say(`Drawn in ${decimal((performance.now() - began) / 1000, 1)} s.`);
      play.textContent = "Play";
      available();
      show_step();
    } catch (error) {
      play.textContent = "Play";
      problem.textContent = error.message;
      studio.fail(error);
    }
  }

  function timeLeft(began, done, total) {
    const left = ((performance.now() - began) / Math.max(1, done)) * (total - done) / 1000;
    return left > 1 ? `about ${Math.ceil(left)} s left` : "nearly done";
  }

  function replay() {
    let step = 0;
    play.textContent = "Stop";
    player = setInterval(() => {
      scrub(step);
      if (++step >= state.steps) stop();
    }, lessMotion() ? 400 : 120);
  }

  function scrub(step) {
    state.step = step === state.steps - 1 ? null : step;
    studio.set({ step: state.step });
    show_step();
  }

  /** The frames of a step (the state's by default) in all rows. */
  function show_step(step = null) {
    const last = Math.min(...order().map((name) => (frames[name] || []).length)) - 1;
    const at = Math.max(0, Math.min(step ?? state.step ?? state.steps - 1, last));
    slider.value = String(at);
    level.textContent = sigmas.length ? `step ${at + 1} of ${state.steps}, noise level (sigma) ${sigmas[at].toPrecision(3)}` : "";
    for (const cell of rows.querySelectorAll("canvas.draw-cell")) {
      const frame = (frames[cell.dataset.machine] || [])[at];
      if (frame) paint(cell, pick(frame[state.shown], Number(cell.dataset.index)), state.shown === "x" ? range(frame.sigma) : 1);
    }
    for (const note of rows.querySelectorAll(".draw-agreement")) {
      const frame = (frames[note.dataset.machine] || [])[at];
      note.textContent = frame?.r ? `like the network: r ${decimal(median(frame.r))}, R² ${decimal(median(frame.r2))}` : "";
    }
    for (const note of rows.querySelectorAll(".draw-r")) {
      const frame = (frames[note.dataset.machine] || [])[at];
      note.textContent = frame?.r ? `r ${decimal(frame.r[Number(note.dataset.index)], 2)}` : "";
    }
    const named = order().filter((name) => frames[name]?.[0]?.r);
    plot.replaceChildren(...(named.length && last > 0 ? [curves(named.map((name) => ({ name: titleOf(name), style: about.drawers.indexOf(name), values: frames[name].slice(0, last + 1).map((frame) => median(frame[state.measure])) })), at, `How alike are the guesses of the machine and the network? (median ${state.measure === "r" ? "Pearson r" : "R²"}; 1: the same)`)] : []));
    measures.hidden = !named.length;
    explainStep(at);
  }

  const median = (values) => {
    const known = values.filter((value) => value !== null).sort((a, b) => a - b);
    return known.length ? (known[(known.length - 1) >> 1] + known[known.length >> 1]) / 2 : null;
  };

  /** The explanation of the chosen picture at a step; asked for once. */
  function explainStep(at) {
    if (!state.explain || !about.explained.includes(state.explain) || !machines().includes(state.explain) || !complete()) {
      if (!state.explain) panel.replaceChildren(make("p.soft", {}, "Click a picture: the training patches that it is made of appear here."));
      return;
    }
    const asked = { draw: question(), machine: state.explain, seed: state.seeds[Math.min(state.seed, state.seeds.length - 1)], step: at };
    if (studio.source.recorded) {
      asked.top = studio.about.recorded_top;
      while (asked.step < state.steps - 1 && !studio.source.has("explain", asked)) asked.step++;
    }
    const key = JSON.stringify(asked);
    if (key === explained) return;
    explained = key;
    clearTimeout(waiting);
    const kept = panel.querySelector(".mosaic") ? panel.mosaic.chosen : null;
    waiting = setTimeout(async () => {
      try {
        await explaining.ask("explain", asked, (message) => {
          const view = mosaicView(message.mosaic);
          panel.mosaic = view;
          panel.replaceChildren(make("p.soft", {}, make("b", {}, instead), `${titleOf(state.explain)}, seed ${asked.seed}, step ${asked.step + 1}: each pixel is a weighted mean of the centres of training patches. Point at the picture or tap it.`), view.node);
          if (kept) view.select(...kept);
        });
      } catch (error) {
        explained = "";
        panel.replaceChildren(make("p.draw-problem", {}, error.message));
      }
    }, studio.source.recorded ? 0 : 60);
  }

  function choose(machine, index) {
    change({ seed: index, explain: about.explained.includes(machine) ? machine : "els" }, false);
    for (const cell of rows.querySelectorAll("button.draw-pick")) cell.setAttribute("aria-pressed", String(cell.dataset.machine === state.explain && Number(cell.dataset.index) === index));
    explained = "";
    show_step();
    panel.scrollIntoView({ block: "nearest", behavior: lessMotion() ? "auto" : "smooth" });
    instead = about.explained.includes(machine) ? "" : `${titleOf(machine)} has no list of sources. This is the formula's picture from the same noise instead. `;
  }

  function layoutRows() {
    const [, height, width] = about.shape, focused = document.activeElement?.matches?.("canvas.draw-noise") ? document.activeElement.dataset.index : null;
    rows.style.setProperty("--seeds", state.seeds.length);
    const head = make("div.draw-row.draw-head", {}, make("div.draw-name", {}, make("b", {}, "Noise"), make("small.soft", {}, studio.source.recorded ? "the same for every row" : "Drag over it to repaint a part, in all columns.")),
      ...state.seeds.map((seed, index) => noiseCell(seed, index, width, height)));
    rows.replaceChildren(head, ...order().map((name) => make("div.draw-row", {},
      make("div.draw-name", { title: HELP[name] || "" }, make("b", {}, titleOf(name)), make("small.draw-agreement.number", { "data-machine": name })),
      ...state.seeds.map((seed, index) => {
        const cell = make("canvas.draw-cell", { "data-machine": name, "data-index": String(index), "aria-hidden": "true" });
        cell.width = width;
        cell.height = height;
        return make("button.draw-pick", { type: "button", "data-machine": name, "data-index": String(index), "aria-label": `${titleOf(name)}, seed ${seed}: explain this picture`,
          "aria-pressed": String(state.explain === name && state.seed === index), onclick: () => choose(name, index) }, cell, make("small.draw-r.number", { "data-machine": name, "data-index": String(index) }));
      }))));
    paintNoise();
    rows.querySelector(`canvas.draw-noise[data-index="${focused}"]`)?.focus();
  }

  function noiseCell(seed, index, width, height) {
    const cell = make("canvas.draw-noise", { "data-index": String(index), tabIndex: 0, role: "img", "aria-label": `Noise of seed ${seed}. Drag to repaint; Enter repaints the middle.` });
    cell.width = width;
    cell.height = height;
    const at = (event) => {
      const box = cell.getBoundingClientRect();
      return [Math.floor(((event.clientY - box.top) / box.height) * height), Math.floor(((event.clientX - box.left) / box.width) * width)].map((v, i) => Math.min([height, width][i] - 1, Math.max(0, v)));
    };
    let fresh = null, stroke = [];
    const add = ([row, column]) => {
      if (studio.source.recorded || stroke.some(([r, c]) => (r - row) ** 2 + (c - column) ** 2 < 4)) return;
      stroke.push([row, column, NOISE_STROKE, fresh]);
      const pen = cell.getContext("2d");
      pen.fillStyle = "#e69f0088";
      pen.fillRect(column - NOISE_STROKE, row - NOISE_STROKE, 2 * NOISE_STROKE + 1, 2 * NOISE_STROKE + 1);
    };
    const end = () => {
      if (!stroke.length) return;
      const strokes = [...state.strokes, ...stroke].slice(-MOST_STROKES);
      stroke = [];
      change({ strokes });
    };
    cell.addEventListener("pointerdown", (event) => {
      cell.setPointerCapture(event.pointerId);
      fresh = 1 + Math.floor(Math.random() * 1e6);
      add(at(event));
    });
    cell.addEventListener("pointermove", (event) => { if (event.buttons) add(at(event)); });
    cell.addEventListener("pointerup", end);
    cell.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      fresh = 1 + Math.floor(Math.random() * 1e6);
      add([height >> 1, width >> 1]);
      end();
    });
    return cell;
  }

  /** The noise is the first state divided by its noise level. */
  function paintNoise() {
    const first = frames[order().find((name) => frames[name]?.[0])]?.[0];
    if (!first) return;
    for (const cell of rows.querySelectorAll("canvas.draw-noise")) paint(cell, pick(first.x, Number(cell.dataset.index)), 2 * first.sigma);
  }

  async function load() {
    if (about?.name === state.subject) return;
    await studio.source.ask("about", { subject: state.subject }, (message) => (about = message.subject));
  }

  async function select(subject) {
    change({ subject, label: 0, window: null, strokes: [], machines: null, explain: null }, false);
    try {
      await show(state);
      run();
    } catch (error) {
      problem.textContent = error.message;
    }
  }

  function layoutControls() {
    const label = make("select", { onchange: () => change({ label: label.value === "" ? null : Number(label.value) }) },
      make("option", { value: "", selected: state.label === null }, "all classes"),
      ...about.classes.slice(0, about.class_count).map((name, i) => make("option", { value: String(i), selected: state.label === i }, name)));
    const dice = make("button", { type: "button", title: "Draw from other noise", onclick: () => change({ seeds: state.seeds.map(() => Math.floor(Math.random() * 1e6)), strokes: [] }) }, "Other seeds");
    const seeds = make("input.draw-seeds.number", { type: "text", value: state.seeds.join(", "), inputMode: "numeric", onchange: () => {
      const found = seeds.value.split(/[\s,]+/).filter(Boolean).map(Number);
      if (!found.length || found.length > studio.about.most_seeds || found.some((one) => !Number.isInteger(one) || one < 0)) {
        problem.textContent = `Seeds must be 1 to ${studio.about.most_seeds} whole numbers, such as 0, 1, 2.`;
        return;
      }
      change({ seeds: found });
    } });
    const who = make("details.draw-who", {}, make("summary", {}, "Who draws"), ...about.drawers.map((name) => make("label.control", { title: HELP[name] || "" },
      make("input", { type: "checkbox", checked: machines().includes(name), onchange: (event) => {
        const now = event.target.checked ? [...machines(), name] : machines().filter((one) => one !== name);
        if (!now.length) event.target.checked = true;
        else change({ machines: about.drawers.filter((one) => now.includes(one)) });
      } }), titleOf(name))));
    controls.replaceChildren(...[labelled("Images", subjectSelect(studio, state.subject, select)), about.class_count ? labelled("Class", label) : null, live() ? labelled("Seeds", seeds) : null, live() ? dice : null,
      undo, live() ? who : null].filter(Boolean));
    shown.replaceChildren(chooser("Show", "draw-shown", [["x0", "the guess"], ["x", "the noisy picture"]], state.shown, (value) => {
      change({ shown: value }, false);
      show_step();
    }));
    measures.replaceChildren(chooser("Curves", "draw-measure", [["r", "Pearson r"], ["r2", "R²"]], state.measure, (value) => {
      change({ measure: value }, false);
      show_step();
    }));
    windows.hidden = !live();
    editor.replaceChildren(scheduleEditor(about.windows, state.window, Math.max(...about.shape.slice(1)), Boolean(about.network), (window) => change({ window })));
    takeaway.replaceChildren(
      make("button", { type: "button", onclick: () => savePicture(rows, "elsewhere.png") }, "Picture (PNG)"),
      make("button", { type: "button", onclick: () => saveFilm(studio, frames, order(), state).catch((error) => (problem.textContent = error.message)) }, "Film (WebM)"),
      live() ? make("button", { type: "button", onclick: () => saveGif(studio, question(), state.shown).catch((error) => (problem.textContent = error.message)) }, "Film (GIF)") : "",
      make("button", { type: "button", onclick: () => saveJson({ question: question(), fingerprint: about.fingerprint, version: studio.about.version, sigmas,
        images: Object.fromEntries(order().map((name) => [name, nested(frames[name].at(-1).x0)])),
        agreement: Object.fromEntries(order().map((name) => [name, { r: frames[name].map((frame) => frame.r), r2: frames[name].map((frame) => frame.r2) }])) }) }, "Numbers (JSON)"),
      make("button", { type: "button", "aria-expanded": String(!lines.hidden), onclick: (event) => {
        lines.textContent = pythonLines(question(), about);
        lines.hidden = !lines.hidden;
        event.target.setAttribute("aria-expanded", String(!lines.hidden));
      } }, "Python lines"),
      make("button", { type: "button", onclick: () => navigator.clipboard?.writeText(location.href).then(() => studio.say(state.subject.startsWith(OWN) ? "Copied. This address works in this page alone, until you close it: your pictures are not kept." : "The address is copied: it draws all of this again.")) }, "Copy address"));
    available();
  }

  /** What is saved is there when all steps are. */
  function available() {
    const ready = complete();
    for (const button of [...takeaway.querySelectorAll("button")].slice(0, live() ? 4 : 3)) {
      button.disabled = !ready;
      button.title = ready ? "" : "when all steps are drawn";
    }
  }

  async function show(next) {
    state = next;
    undo.hidden = !live() || !state.strokes.length;
    await load();
    if (state.label !== null && state.label >= about.class_count) state.label = about.class_count ? 0 : null;
    layoutControls();
    layoutRows();
    play.disabled = false;
    slider.max = String(state.steps - 1);
    if (complete()) show_step();
    else {
      panel.replaceChildren(make("p.soft", {}, "Press Play."));
      if (studio.source.recorded || state.step !== null || state.explain) await run();
    }
  }

  return { node, defaults, fits, show, hide() {
    stop();
    clearTimeout(waiting);
    explaining.cancel();
    explained = "";
  } };
}
