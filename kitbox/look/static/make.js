// Makes elements; what comes from files and lists is only ever set as text.

export function make(tag, attributes = {}, ...inside) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "text") element.textContent = value;
    else if (name === "class") element.className = value;
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...inside.flat(2).filter((part) => part !== null && part !== undefined));
  return element;
}

// A colour of an individual's own, the same on every page.
export function hue(label) {
  let sum = 0;
  for (const letter of label) sum = (sum * 31 + letter.codePointAt(0)) % 360;
  return sum;
}

export function chip(label, unknown) {
  if (!label) return make("span", { class: "chip none", text: "no label" });
  const shown = make("a", {
    class: label === unknown ? "chip none" : "chip",
    href: `#/images?label=${encodeURIComponent(label)}`,
    title: `All photographs of ${label}`,
    text: label,
  });
  shown.style.setProperty("--hue", hue(label));
  return shown;
}

// Where an image stands and what was decided of it; of labelled images that are in training nothing.
export function marks(image) {
  const shown = [];
  if (image.side !== "labelled") shown.push(make("span", { class: "mark", text: image.side }));
  if (image.asked) shown.push(make("span", { class: "mark", text: "asked in the holdout" }));
  if (image.listed && image.listed !== image.label) {
    shown.push(make("span", { class: "mark decided", text: `listed as ${image.listed}` }));
  }
  for (const word of image.decided) {
    shown.push(make("span", { class: "mark decided", text: word }));
  }
  return shown;
}

export function percent(similarity) {
  return similarity === null || similarity === undefined ? "" : similarity.toFixed(3);
}
