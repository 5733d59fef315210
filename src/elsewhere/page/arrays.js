/** An array (seeds, C, H, W) as nested lists with four decimals. */
export function nested({ shape, values }) {
  const build = (axis, at) => {
    const size = shape.slice(axis + 1).reduce((one, other) => one * other, 1);
    return [...Array(shape[axis]).keys()].map((i) => (axis === shape.length - 1 ? Number(values[at + i].toFixed(4)) : build(axis + 1, at + i * size)));
  };
  return build(0, 0);
}

/** Read an array of a message: { shape, type, data } -> { shape, values }. Decoded ones are returned as they are. */
export function decode(packed) {
  if (packed.values) return packed;
  const bytes = Uint8Array.from(atob(packed.data), (letter) => letter.charCodeAt(0));
  const values = packed.type === "float16" ? halves(bytes) : new KINDS[packed.type](bytes.buffer);
  return { shape: packed.shape, values };
}

const KINDS = { uint8: Uint8Array, uint16: Uint16Array, int16: Int16Array, int32: Int32Array, float32: Float32Array };

/** Half-precision numbers as float32. */
function halves(bytes) {
  const view = new DataView(bytes.buffer);
  const values = new Float32Array(bytes.length / 2);
  for (let i = 0; i < values.length; i++) {
    const bits = view.getUint16(2 * i, true);
    const exponent = (bits >> 10) & 31, fraction = bits & 1023;
    const size = exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15);
    values[i] = bits & 0x8000 ? -size : size;
  }
  return values;
}

/** Item `index` along the first axis. */
export function pick(array, index) {
  const shape = array.shape.slice(1);
  const size = shape.reduce((product, side) => product * side, 1);
  return { shape, values: array.values.subarray(index * size, (index + 1) * size) };
}
