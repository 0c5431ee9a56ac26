// How a case is shown: why it is one, and a card for each image.

import { chip, make, marks, percent } from "./make.js";
import { tiny } from "./tiles.js";

const WHY = {
  mutual: "Each is the other's nearest photograph, under two labels.",
  split: "One individual, whose photographs fall into two groups far apart.",
  copies: "The same file.",
  "near-duplicates": "Nearly the same picture.",
  neighbours: "More alike than photographs of two individuals should be.",
  pair: "Side by side.",
};

export function head(view) {
  const { kind, similarity, labels, settled } = view.case;
  const said = [make("span", { text: WHY[kind] ?? "" })];
  if (view.case.first) said.push(chip(labels[0], view.page.overview.unknown));
  if (labels.length > 1 && kind !== "mutual") {
    said.push(make("b", { class: "alarm", text: `${labels.length} labels for one picture` }));
  }
  if (new Set(view.case.images.map((image) => image.side)).size > 1) {
    said.push(make("b", { class: "alarm", text: "on both sides of the test" }));
  }
  if (similarity !== null) said.push(make("span", { class: "soft", text: `similarity ${percent(similarity)}` }));
  if (settled) said.push(make("b", { class: "settled", text: "✓ decided" }));
  if (view.what === "pair") return make("div", { class: "head" }, make("div", { class: "why" }, said));
  const done = view.list.filter((one) => one.settled).length;
  return make("div", { class: "head" },
    make("div", { class: "where" },
      step(view, -1, "←", "Previous (p)"),
      make("span", { text: `${view.place + 1} of ${view.list.length}` }),
      step(view, 1, "→", "Next (n)"),
      make("progress", { max: view.list.length, value: done, "aria-label": "decided" }),
      make("span", { class: "soft", text: `${done} decided` })),
    make("div", { class: "why" }, said));
}

function step(view, by, text, title) {
  return make("button", { type: "button", class: "step", text, title, onclick: () => view.page.run(() => view.go(view.place + by)) });
}

export function card(view, image, place) {
  const { unknown } = view.page.overview;
  const stage = view.stages[place].element;
  stage.addEventListener("pointerdown", () => view.choose(place));
  const others = view.case.first ? null : image.same.length
    ? make("div", { class: "strip" },
      make("span", { class: "soft", text: "also" }),
      image.same.map((other) => tiny(other)))
    : make("div", { class: "strip soft", text: aside(image, unknown) });
  return make("article", { class: image.out ? "card out" : "card", "aria-label": image.id },
    stage,
    make("div", { class: "caption" },
      make("button", { type: "button", class: "digit", text: String(place + 1), title: "Choose this image", onclick: () => view.choose(place) }),
      view.case.first ? null : chip(image.label, unknown),
      make("span", { class: "soft", text: count(view, image, unknown) }),
      make("span", { class: "gap" }),
      make("a", { class: "id", href: `#/image/${encodeURIComponent(image.id)}`, title: "All about this image", text: image.id })),
    make("div", { class: "marks" }, marks(image)),
    others);
}

function count(view, image, unknown) {
  const counts = image.photographs && image.label !== unknown && !view.case.first;
  return counts ? `${image.photographs} photograph${image.photographs > 1 ? "s" : ""}` : "";
}

function aside(image, unknown) {
  if (image.side !== "labelled") return `of the ${image.side} images`;
  return image.label === unknown ? "nobody in particular" : "no other photograph";
}
