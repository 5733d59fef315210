/** State <-> the part of the address after "#": `#draw?seeds=0,1&step=3`. Values are JSON where they are not plain words. */
export function readAddress(text) {
  const [view, query = ""] = text.replace(/^#/, "").split("?");
  const state = Object.create(null);
  for (const [name, value] of new URLSearchParams(query)) {
    try {
      state[name] = JSON.parse(value);
    } catch {
      state[name] = value;
    }
  }
  return { view, state };
}

/** The defaults of a view with the values of an address, and the names of values that the view cannot use.
 *
 * @param {object} given values of the address.
 * @param {object} defaults of the view.
 * @param {Object<string, (value: any) => boolean>} fits whether a value can be used, for every name of the defaults.
 */
export function usable(given, defaults, fits) {
  const state = structuredClone(defaults), refused = [];
  for (const [name, value] of Object.entries(given)) {
    if (Object.hasOwn(fits, name) && fits[name](value)) state[name] = value;
    else refused.push(name);
  }
  return { state, refused };
}

/** Tests of values from an address. */
export const whole = (least, most) => (value) => Number.isInteger(value) && value >= least && value <= most;
export const oneOf = (values) => (value) => values.includes(value);
export const listOf = (fits, least, most) => (value) => Array.isArray(value) && value.length >= least && value.length <= most && value.every(fits);
export const each = (...fits) => (value) => Array.isArray(value) && value.length === fits.length && fits.every((one, i) => one(value[i]));
export const either = (...fits) => (value) => fits.some((one) => one(value));
export const LARGEST_SEED = 2 ** 31 - 1;

/** The address of a view and its state; values that equal the defaults are left out. */
export function writeAddress(view, state, defaults = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) {
    const plain = JSON.stringify(value);
    if (value === undefined || value === null || plain === JSON.stringify(defaults[name])) continue;
    query.set(name, typeof value === "string" && !isJson(value) ? value : plain);
  }
  const text = query.toString();
  return `#${view}${text ? `?${text}` : ""}`;
}

function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
