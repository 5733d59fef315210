import { make } from "./dom.js";

/** A picture's bytes in the shape (C, H, W), scaled by the browser, in base64; null if it cannot read the file. */
export async function bytesOf(file, [channels, height, width]) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    return null;
  }
  const canvas = make("canvas");
  canvas.width = width;
  canvas.height = height;
  const pen = canvas.getContext("2d"), side = Math.min(bitmap.width, bitmap.height);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(bitmap, (bitmap.width - side) / 2, (bitmap.height - side) / 2, side, side, 0, 0, width, height);
  bitmap.close();
  const pixels = pen.getImageData(0, 0, width, height).data, size = height * width;
  let text = "";
  for (let c = 0; c < channels; c++) {
    for (let i = 0; i < size; i++) {
      const [red, green, blue] = pixels.subarray(4 * i, 4 * i + 3);
      text += String.fromCharCode(channels === 3 ? pixels[4 * i + c] : Math.round(0.299 * red + 0.587 * green + 0.114 * blue));
    }
  }
  return btoa(text);
}

/** Files of a drop, those of dropped folders too: [{ file, folder }], `folder` being the name of the innermost folder. */
export async function droppedFiles(transfer) {
  const found = [];
  const walk = async (entry, folder) => {
    if (entry.isFile) found.push({ file: await new Promise((done, fail) => entry.file(done, fail)), folder });
    else {
      const reader = entry.createReader();
      for (;;) {
        const some = await new Promise((done, fail) => reader.readEntries(done, fail));
        if (!some.length) break;
        for (const one of some) await walk(one, entry.name);
      }
    }
  };
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  for (const entry of entries) await walk(entry, "");
  return found.length ? found : [...transfer.files].map((file) => ({ file, folder: "" }));
}
