/** Make an element: `make("button.play", { onclick: play, "aria-label": "Play" }, "Play")`.
 *
 * @param {string} what tag and classes, as in "div.row.wide".
 * @param {object} properties names with "on" are handlers, those of the element are set as properties, others as attributes.
 * @param {...(Node|string|null)} children
 */
export function make(what, properties = {}, ...children) {
  const [tag, ...classes] = what.split(".");
  const node = document.createElement(tag);
  if (classes.length) node.className = classes.join(" ");
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name.includes("-") || !(name in node)) node.setAttribute(name, value === true ? "" : value);
    else node[name] = value;
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** A control with its visible label, in one line. */
export function labelled(text, control, help = "") {
  return make("label.control", { title: help }, make("span", {}, text), control);
}

/** A row of exclusive choices as radio buttons: `choices` are [value, text] pairs. */
export function chooser(legend, name, choices, value, onchange) {
  const set = make("fieldset.chooser", {}, make("legend", {}, legend));
  for (const [one, text] of choices) {
    const input = make("input", { type: "radio", name, value: String(one), checked: one === value, onchange: () => onchange(one) });
    set.append(make("label", {}, input, make("span", {}, text)));
  }
  return set;
}

/** Text of a number with so many decimals; a dash where there is none. */
export function decimal(value, places = 3) {
  return value === null || value === undefined || Number.isNaN(value) ? "–" : value.toFixed(places);
}

/** Whether the reader asked for less motion. */
export function lessMotion() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/** Percent with one decimal; small shares are not called zero. */
export function percent(share) {
  return share > 0 && share < 0.0005 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`;
}
