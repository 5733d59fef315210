/** Paint an image into a canvas, one canvas pixel for each of its pixels; CSS enlarges it.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {{shape: number[], values: ArrayLike<number>}} image (C, H, W), 0 to 255 if bytes, else in [-1, 1].
 * @param {number} scale what a float is divided by before it is shown: noisy states have a wider range.
 */
export function paint(canvas, image, scale = 1) {
  const [channels, height, width] = image.shape;
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const pixels = new ImageData(width, height), size = height * width;
  const bytes = image.values instanceof Uint8Array;
  for (let i = 0; i < size; i++) {
    for (let c = 0; c < 3; c++) {
      const value = image.values[(channels === 3 ? c : 0) * size + i];
      pixels.data[4 * i + c] = bytes ? value : 127.5 * (value / scale + 1);
    }
    pixels.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

/** Mark finger tips, [row, column] each, by a dot above them on a painted hand. */
export function markTips(canvas, tips) {
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#d55e00";
  for (const [row, column] of tips) {
    pen.fillRect(column, Math.max(0, row - 1), 1, 1);
  }
}

/** Divisor with which a noisy state of a noise level is shown: about its standard deviation, at least 1. */
export function range(sigma) {
  return Math.max(1, 1.5 * sigma);
}

/** Colours that people with colour-blindness tell apart (Okabe and Ito, 2008). */
export const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999"];

/** The colour of a training image: the same in every view. */
export function colourOf(id) {
  return COLOURS[id % COLOURS.length];
}
