// Actions on images, as the rows that decisions.csv takes, and their wording.

// The kinds of decisions about one image, by their keys.
export const KINDS = { d: "drop", w: "wrong", l: "label", t: "train", b: "box" };

const row = (kind, subject, value = "") => ({ kind, subject, value });

// Rows that make all images one individual: their labels are merged into the most frequent one,
// which images of unknown individuals are given.
export function sameIndividual(images, unknown) {
  const shown = images.filter((image) => image.side === "labelled" && !image.excluded);
  const counts = new Map();
  for (const image of shown) {
    if (image.label && image.label !== unknown) counts.set(image.label, image.photographCount ?? 0);
  }
  const [stays, ...others] = [...counts.keys()].sort(
    (one, other) => counts.get(other) - counts.get(one) || (one < other ? -1 : 1),
  );
  if (stays === undefined) return [];
  return [
    ...others.map((label) => row("merge", label, stays)),
    ...shown.filter((image) => image.label === unknown).map((image) => row("label", image.id, stays)),
  ];
}

// Why no rows make these images one individual.
export function whyNotSame(images, unknown) {
  const shown = images.filter((image) => image.side === "labelled" && !image.excluded);
  const other = images.find((image) => image.side !== "labelled");
  if (shown.length < 2) return other ? `${other.side} images have no label` : "needs two images in use";
  if (shown.every((image) => !image.label || image.label === unknown)) return "no label yet: set one";
  return "one label already";
}

// Why images do not take a kind of decision: '' if they take it and it changes something.
export function refusal(kind, images) {
  const refused = images.map((image) => image.refused[kind]).find(Boolean);
  if (refused) return refused;
  return images.every((image) => image.inEffect.includes(kind)) ? "decided already" : "";
}

// Rows that mark an item as correct, so that it is no longer suspect.
export function fine(item) {
  return item.kind === "split"
    ? item.labels.map((label) => row("fine", label))
    : item.pairs.map(([one, other]) => row("fine", one, other));
}

// One row of a kind for each image.
export function each(kind, images, value = "") {
  return images.map((image) => row(kind, image.id, value));
}

export function box(image, corners) {
  return [row("box", image.id, corners.join(" "))];
}

// One sentence for some rows, in messages and on buttons.
export function sentence(rows) {
  const [first] = rows;
  const more = rows.length > 1 ? `, ${rows.length - 1} more` : "";
  switch (first.kind) {
    case "merge": return `${first.subject} is ${first.value}${more}`;
    case "label": return `${first.subject} shows ${first.value}${more}`;
    case "drop": return `dropped ${first.subject}${more}`;
    case "wrong": return `the label of ${first.subject} is wrong${more}`;
    case "train": return `${first.subject} stays in training${more}`;
    case "box": return `box of ${first.subject}`;
    case "same": return `${first.subject} and ${first.value} show the same individual${more}`;
    case "different": return `${first.subject} and ${first.value} show different individuals${more}`;
    case "new": return `${first.subject} shows a new individual${more}`;
    case "unsure": return `cannot tell who ${first.subject} shows${more}`;
    case "poor": return `${first.subject} is a poor picture${more}`;
    default: return `fine as they are: ${first.subject}${first.value ? ` and ${first.value}` : ""}${more}`;
  }
}

// Equal for equal decisions, whatever their notes.
export function key({ kind, subject, value }) {
  return JSON.stringify([kind, subject, value]);
}

// The address of the image that a decision is about; null for a decision about labels or pairs.
export function imageAddress({ kind, subject }) {
  return ["merge", "fine", "same", "different"].includes(kind) ? null : `#/image/${encodeURIComponent(subject)}`;
}
