/** State <-> the part of the address after "#": `#draw?seeds=0,1&step=3`. Values are JSON where they are not plain words. */
export function readAddress(text) {
  const [view, query = ""] = text.replace(/^#/, "").split("?");
  const state = {};
  for (const [name, value] of new URLSearchParams(query)) {
    try {
      state[name] = JSON.parse(value);
    } catch {
      state[name] = value;
    }
  }
  return { view, state };
}

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
