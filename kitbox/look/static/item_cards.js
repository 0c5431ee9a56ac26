// The header of a review item, and a card for each of its images.

import { badges, formatSimilarity, labelChip, make } from "./elements.js";
import { thumbnail } from "./tiles.js";

const REASONS = {
  mutual: "Each is the other's nearest photograph, under two labels.",
  split: "One individual whose photographs fall into two distant groups.",
  copies: "The same file.",
  "near-duplicates": "Nearly the same picture.",
  neighbours: "More similar than photographs of two individuals should be.",
  pair: "Side by side.",
};

export function itemHeader(view) {
  const { kind, similarity, labels, settled } = view.item;
  const reason = [make("span", { text: REASONS[kind] ?? "" })];
  if (view.item.first) reason.push(labelChip(labels[0], view.page.overview.unknown));
  if (labels.length > 1 && kind !== "mutual") {
    reason.push(make("b", { class: "alarm", text: `${labels.length} labels for one picture` }));
  }
  if (new Set(view.item.images.map((image) => image.side)).size > 1) {
    reason.push(make("b", { class: "alarm", text: "on different sides of the data" }));
  }
  if (similarity !== null) reason.push(make("span", { class: "soft", text: `similarity ${formatSimilarity(similarity)}` }));
  if (settled) reason.push(make("b", { class: "settled", text: "✓ decided" }));
  if (view.list === "pair") return make("div", { class: "head" }, make("div", { class: "reason" }, reason));
  const done = view.items.filter((item) => item.settled).length;
  return make("div", { class: "head" },
    make("div", { class: "position" },
      stepButton(view, -1, "←", "Previous (p)"),
      make("span", { text: `${view.place + 1} of ${view.items.length}` }),
      stepButton(view, 1, "→", "Next (n)"),
      make("progress", { max: view.items.length, value: done, "aria-label": "decided" }),
      make("span", { class: "soft", text: `${done} decided` })),
    make("div", { class: "reason" }, reason));
}

function stepButton(view, by, text, title) {
  const place = view.place + by;
  const disabled = place < 0 || place >= view.items.length;
  return make("button", { type: "button", class: "step", text, title, disabled, onclick: () => view.page.run(() => view.go(place)) });
}

export function imageCard(view, image, place) {
  const { unknown } = view.page.overview;
  const viewer = view.viewers[place].element;
  viewer.addEventListener("pointerdown", () => view.choose(place));
  const others = view.item.first ? null : image.sameIndividual.length
    ? make("div", { class: "strip" },
      make("span", { class: "soft", text: "also" }),
      image.sameIndividual.map((other) => thumbnail(other)))
    : make("div", { class: "strip soft", text: noOthers(image, unknown) });
  return make("article", { class: image.excluded ? "card excluded" : "card", "aria-label": image.id },
    viewer,
    make("div", { class: "caption" },
      make("button", { type: "button", class: "digit", text: String(place + 1), title: "Choose this image", onclick: () => view.choose(place) }),
      view.item.first ? null : labelChip(image.label, unknown),
      make("span", { class: "soft", text: photographCount(view, image, unknown) }),
      make("span", { class: "spacer" }),
      make("a", { class: "id", href: `#/image/${encodeURIComponent(image.id)}`, title: "Show details of this image", text: image.id })),
    make("div", { class: "badges" }, badges(image)),
    others);
}

function photographCount(view, image, unknown) {
  const counted = image.photographCount && image.label !== unknown && !view.item.first;
  return counted ? `${image.photographCount} photograph${image.photographCount > 1 ? "s" : ""}` : "";
}

function noOthers(image, unknown) {
  if (image.side !== "labelled") return `${image.side} image`;
  return image.label === unknown ? "unknown individual" : "no other photograph";
}
