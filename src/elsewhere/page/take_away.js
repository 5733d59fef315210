import { pick } from "./arrays.js";
import { make } from "./dom.js";
import { OWN } from "./own.js";
import { paint } from "./paint.js";

function download(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** Save all canvases of a grid of rows as one PNG. */
export function savePicture(rows, name) {
  composed(rows).toBlob((blob) => download(blob, name), "image/png");
}

function composed(rows, zoom = 4) {
  const lines = [...rows.children].map((row) => [...row.querySelectorAll("canvas")]);
  const [first] = lines[0], gap = 2;
  const sheet = make("canvas");
  sheet.width = lines[0].length * (first.width * zoom + gap) + gap;
  sheet.height = lines.length * (first.height * zoom + gap) + gap;
  const pen = sheet.getContext("2d");
  pen.imageSmoothingEnabled = false;
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, sheet.width, sheet.height);
  lines.forEach((line, i) => line.forEach((canvas, j) => pen.drawImage(canvas, gap + j * (first.width * zoom + gap), gap + i * (first.height * zoom + gap), first.width * zoom, first.height * zoom)));
  return sheet;
}

/** Save an object as JSON. */
export function saveJson(content) {
  download(new Blob([`${JSON.stringify(content, null, 1)}\n`], { type: "application/json" }), "elsewhere.json");
}

/** Save the steps of all rows as a film, recorded from a canvas. */
export async function saveFilm(studio, frames, machines, state) {
  const ready = machines.every((name) => (frames[name] || []).length === state.steps);
  if (!ready) throw new Error("Press Play first: a film needs all steps.");
  if (!globalThis.MediaRecorder) throw new Error("This browser cannot record films.");
  const zoom = 4, [, , height, width] = frames[machines[0]][0].x0.shape;
  const sheet = make("canvas"), cell = make("canvas"), pen = sheet.getContext("2d");
  sheet.width = state.seeds.length * width * zoom;
  sheet.height = machines.length * height * zoom;
  pen.imageSmoothingEnabled = false;
  const stream = sheet.captureStream(10), parts = [];
  const recorder = new MediaRecorder(stream, { mimeType: "video/webm" });
  recorder.ondataavailable = (event) => parts.push(event.data);
  const ended = new Promise((done) => (recorder.onstop = done));
  recorder.start();
  for (let step = 0; step < state.steps; step++) {
    machines.forEach((name, i) => state.seeds.forEach((_, j) => {
      paint(cell, pick(frames[name][step].x0, j));
      pen.drawImage(cell, j * width * zoom, i * height * zoom, width * zoom, height * zoom);
    }));
    studio.say(`Recording step ${step + 1} of ${state.steps}.`);
    await new Promise((done) => setTimeout(done, 120));
  }
  await new Promise((done) => setTimeout(done, 600));
  recorder.stop();
  await ended;
  download(new Blob(parts, { type: "video/webm" }), "elsewhere.webm");
  studio.say("The film is saved.");
}

/** Save the steps of all rows as an animated GIF, which the server makes. */
export async function saveGif(studio, question, shown) {
  let bytes = null;
  await studio.source.ask("film", { draw: question, shown }, (message) => {
    if (message.gif) bytes = Uint8Array.from(atob(message.gif), (letter) => letter.charCodeAt(0));
    else studio.say(`Drawing step ${message.step + 1} of ${question.steps} for the film.`);
  });
  download(new Blob([bytes], { type: "image/gif" }), "elsewhere.gif");
  studio.say("The film is saved.");
}

/** Python lines that draw the same images. */
export function pythonLines(question, about) {
  const machine = question.machines.includes("els") ? "EquivariantLocalScore" : question.machines.includes("ls") ? "LocalScore" : question.machines.includes("is") ? "IdealScore" : "Wiener";
  const windowed = machine.endsWith("LocalScore");
  const sides = Array.isArray(question.window)
    ? `els.LocalitySchedule(${tuple(question.window.map(([sigma]) => sigma))}, ${tuple(question.window.map(([, side]) => side))})`
    : question.window ?? (about.network ? `els.shipped_locality(${JSON.stringify(about.network)})` : "7");
  const lines = ["import torch", "", "import elsewhere as els", "", about.name.startsWith(OWN) ? `data = els.load_images("FOLDER", size=${about.shape[1]})  # the folder of your pictures` : `data = els.load_images(${JSON.stringify(about.name)})`];
  lines.push(windowed ? `machine = els.${machine}(data, ${sides})` : `machine = els.${machine}(data)`);
  lines.push(`noise = torch.cat([els.make_noise(1, data.shape, seed) for seed in ${tuple(question.seeds)}])`);
  if (question.strokes) {
    lines.push("rows, columns = (torch.arange(side) for side in data.shape[1:])");
    lines.push(`for row, column, radius, seed in ${JSON.stringify(question.strokes)}:`);
    lines.push("    disc = (rows[:, None] - row) ** 2 + (columns - column) ** 2 <= radius**2");
    lines.push("    noise = torch.where(disc, els.make_noise(1, data.shape, seed), noise)");
  }
  lines.push(`run = els.sample(machine, noise, els.schedules.cosine(${question.steps}), label=${question.label === null ? "None" : question.label}, keep=True)`);
  lines.push('run.save("elsewhere.png")');
  lines.push("mosaic = els.explain(machine, run.states[-2], run.sigmas[-2])".replace(")", question.label === null ? ")" : `, label=${question.label})`));
  return `${lines.join("\n")}\n`;
}

function tuple(values) {
  return `(${values.join(", ")}${values.length === 1 ? "," : ""})`;
}
