// DOM elements. Text from files and lists is only ever set as text, never as markup.

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "text") element.textContent = value;
    else if (name === "class") element.className = value;
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(2).filter((child) => child !== null && child !== undefined));
  return element;
}

// An individual's hue in degrees, the same on every page.
export function hue(label) {
  let sum = 0;
  for (const letter of label) sum = (sum * 31 + letter.codePointAt(0)) % 360;
  return sum;
}

export function labelChip(label, unknown) {
  if (!label) return make("span", { class: "chip none", text: "no label" });
  const chip = make("a", {
    class: label === unknown ? "chip none" : "chip",
    href: `#/images?label=${encodeURIComponent(label)}`,
    title: `All photographs of ${label}`,
    text: label,
  });
  chip.style.setProperty("--hue", hue(label));
  return chip;
}

// An image's side, unless it is an ordinary labelled image, and the decisions about it.
export function badges(image) {
  const shown = [];
  if (image.side !== "labelled") shown.push(make("span", { class: "badge", text: image.side }));
  if (image.query) shown.push(make("span", { class: "badge", text: "query of the holdout" }));
  if (image.listed && image.listed !== image.label) {
    shown.push(make("span", { class: "badge decided", text: `listed as ${image.listed}` }));
  }
  for (const tag of image.tags) {
    shown.push(make("span", { class: "badge decided", text: tag }));
  }
  return shown;
}

export function formatSimilarity(similarity) {
  return similarity === null || similarity === undefined ? "" : similarity.toFixed(3);
}
