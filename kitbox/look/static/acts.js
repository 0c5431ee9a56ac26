// What a person may decide of images, as the rows that decisions.csv takes.

import { make } from "./make.js";

const row = (kind, subject, value = "") => ({ kind, subject, value });

// Everyone on these images is one: labels are merged, images of nobody in particular get the name.
export function same(images, unknown) {
  const shown = images.filter((image) => image.side === "labelled" && !image.out);
  const counts = new Map();
  for (const image of shown) {
    if (image.label && image.label !== unknown) counts.set(image.label, image.photographs ?? 0);
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

// One sentence for rows, as a message and on buttons.
export function words(rows) {
  const [first] = rows;
  const more = rows.length > 1 ? `, ${rows.length - 1} more` : "";
  switch (first.kind) {
    case "merge": return `${first.subject} is ${first.value}${more}`;
    case "label": return `${first.subject} shows ${first.value}${more}`;
    case "drop": return `dropped ${first.subject}${more}`;
    case "wrong": return `the label of ${first.subject} is wrong${more}`;
    case "train": return `${first.subject} stays in training${more}`;
    case "box": return `box of ${first.subject}`;
    default: return `fine as they are: ${first.subject}${first.value ? ` and ${first.value}` : ""}${more}`;
  }
}

// What tells one decision from another.
export function key({ kind, subject, value }) {
  return JSON.stringify([kind, subject, value]);
}

// The image that a decision is about, where it is about one.
export function about({ kind, subject }) {
  return kind === "merge" || kind === "fine" ? null : `#/image/${encodeURIComponent(subject)}`;
}

export function fine(found) {
  return found.kind === "split"
    ? found.labels.map((label) => row("fine", label))
    : found.pairs.map(([one, other]) => row("fine", one, other));
}

export function each(kind, images, value = "") {
  return images.map((image) => row(kind, image.id, value));
}

export function box(image, corners) {
  return [row("box", image.id, corners.join(" "))];
}

// Asks for a label; resolves to '' where the person leaves. `near` are offered first.
export function ask(dialog, images, near, labels) {
  return new Promise((done) => {
    const known = new Set(labels.known.map(([label]) => label));
    const input = make("input", { type: "text", id: "label", list: "labels", autocomplete: "off", spellcheck: "false" });
    const told = make("p", { class: "hint", text: "A name that is new makes a new individual." });
    const offered = near.map((label) => make("button", { type: "button", text: label, onclick: () => end(label) }));
    const end = (label) => {
      dialog.onkeydown = dialog.oncancel = null;
      dialog.close();
      done(label);
    };
    input.addEventListener("input", () => {
      const label = input.value.trim();
      const stays = Object.hasOwn(labels.merged, label) ? labels.merged[label] : "";
      if (stays) told.textContent = `${label} is ${stays} since a merge; give that label.`;
      else {
        told.textContent = !label || known.has(label)
          ? "A name that is new makes a new individual."
          : `${label} is new: the images become an individual of their own.`;
      }
    });
    dialog.className = "asking";
    dialog.replaceChildren(
      make("h2", { text: images.length > 1 ? `Whom do these ${images.length} images show?` : `Whom does ${images[0].id} show?` }),
      make("label", { for: "label", text: "Label (Tab goes on to those nearby)" }),
      input,
      make("div", { class: "row" }, offered),
      make("datalist", { id: "labels" }, labels.known.slice(0, 3000).map(([label, count]) => make("option", { value: label, text: `${count} photographs` }))),
      told,
      make("div", { class: "row" },
        make("span", { class: "gap" }),
        make("button", { type: "button", text: "Leave (Esc)", onclick: () => end("") }),
        make("button", { type: "button", class: "main", text: "Set label (Enter)", onclick: () => end(input.value.trim()) })),
    );
    dialog.oncancel = (event) => { event.preventDefault(); end(""); };
    dialog.onkeydown = (event) => {
      event.stopPropagation();
      if (event.isComposing) return; // Enter ends a word of an input method
      if (event.key === "Enter" && event.target === input) { event.preventDefault(); end(input.value.trim()); }
    };
    dialog.showModal();
    input.focus();
  });
}
