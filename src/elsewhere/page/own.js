import { labelled, make } from "./dom.js";
import { bytesOf, droppedFiles } from "./pictures.js";

const MOST = 2000, MOST_CLASSES = 50;
/** How names of added sets begin. */
export const OWN = "own-";

/** Choose a set of training images; added ones are called "your pictures". */
export function subjectSelect(studio, value, onchange) {
  const select = make("select", { onchange: () => onchange(select.value) },
    ...studio.about.subjects.map((name) => make("option", { value: name, selected: name === value }, name.startsWith(OWN) ? "your pictures" : name)));
  return select;
}

/** Add own pictures: choose or drop files or a folder; they become one more set of training images.
 *
 * @param {object} studio
 * @param {(name: string) => void} onadded called with the name of the new subject.
 */
export function ownPictures(studio, onadded) {
  const said = make("p.own-said", { "aria-live": "polite" });
  const side = make("select", {}, ...[16, 28, 32, 48, 64].map((one) => make("option", { value: String(one), selected: one === 32 }, `${one} × ${one}`)));
  const gray = make("input", { type: "checkbox" });
  const files = make("input", { type: "file", multiple: true, accept: "image/*", onchange: () => add([...files.files].map((file) => ({ file, folder: "" }))) });
  const folder = make("input", { type: "file", webkitdirectory: true, onchange: () => add([...folder.files].map((file) => ({ file, folder: file.webkitRelativePath.split("/").slice(1, -1).at(-1) || "" }))) });
  const node = make("details.panel.own", {
    ondragover: (event) => event.preventDefault(),
    ondrop: async (event) => {
      event.preventDefault();
      add(await droppedFiles(event.dataTransfer));
    },
  }, make("summary", {}, "Use your own pictures"),
    make("p", {}, "Drop pictures or a folder here, or choose them. Your browser scales them; they stay on this machine, and are forgotten when you close this page. Folders inside a folder become classes."),
    make("div.bar", {}, labelled("Pictures", files), labelled("Folder", folder), labelled("Size", side), labelled("Gray", gray)), said);

  async function add(found) {
    const pictures = found.filter(({ file }) => !file.type || file.type.startsWith("image/")), read = [];
    let left = found.length - pictures.length;
    const channels = gray.checked ? 1 : 3, size = Number(side.value);
    for (const one of pictures.slice(0, MOST)) {
      const bytes = await bytesOf(one.file, [channels, size, size]);
      if (bytes) read.push({ bytes, folder: one.folder });
      else left++;
      if (read.length % 50 === 0) said.textContent = `Read ${read.length} of ${pictures.length} pictures …`;
    }
    left += Math.max(0, pictures.length - MOST);
    const names = [...new Set(read.map((one) => one.folder))].sort();
    const classed = names.length > 1 && names.length <= MOST_CLASSES;
    try {
      const name = await studio.source.addOwn({ side: size, channels, pictures: read.map((one) => one.bytes),
        ...(classed ? { classes: names.map((one) => one || "none"), labels: read.map((one) => names.indexOf(one.folder)) } : {}) });
      said.textContent = `${read.length} pictures added${classed ? ` in ${names.length} classes` : ""}.${left ? ` Left out: ${left}, no pictures or more than ${MOST}.` : ""}`;
      studio.about.subjects = [...studio.about.subjects.filter((one) => !one.startsWith(OWN)), name];
      onadded(name);
    } catch (error) {
      // Other pictures were chosen meanwhile.
      if (error.name === "AbortError") return;
      said.textContent = error.message;
    }
  }

  return node;
}
