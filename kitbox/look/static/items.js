// Review items, their images side by side: suspects, duplicates, and pairs chosen by the user.

import * as actions from "./actions.js";
import { get } from "./api.js";
import { drawBox } from "./box_editor.js";
import { make } from "./elements.js";
import { imageCard, itemHeader } from "./item_cards.js";
import { ImageViewer, preload } from "./viewer.js";

const EMPTY = {
  suspects: "No suspects: no two individuals look like one, and none looks like two.",
  duplicates: "No copies or near-duplicates are left to decide.",
};

export class ItemsView {
  constructor(page, list, place, ids = []) {
    this.page = page;
    this.list = list; // "suspects", "duplicates" or "pair"
    this.requested = place; // null: the first open item
    this.place = null;
    this.ids = ids;
    this.current = 0; // place of the image that keys act on
    this.chosen = new Set();
    this.viewers = [];
    this.fetched = new Map(); // place -> promise of an item that is fetched ahead
  }

  async open() {
    if (this.list === "pair") {
      this.item = await get("/api/side-by-side", { id: this.ids });
    } else {
      const { requested } = this;
      this.requested = null;
      this.items = await get("/api/items", { list: this.list });
      if (!this.items.length) return this.empty();
      const place = Math.max(0, Math.min(this.items.length - 1, requested ?? this.place ?? this.firstOpen()));
      const item = await this.fetch(place);
      if (place !== this.place) this.current = 0;
      Object.assign(this, { place, item }); // both at once: keys act on the item that is shown
    }
    this.render();
  }

  firstOpen() {
    return this.items.findIndex((item) => !item.settled);
  }

  get address() {
    return this.items && `#/${this.list}/${this.place + 1}`;
  }

  fetch(place) {
    const item = this.fetched.get(place) ?? get("/api/item", { list: this.list, place });
    this.fetched.delete(place);
    return item;
  }

  empty() {
    const hint = this.list === "suspects" && !this.page.overview.by.length
      ? "Finding suspects needs a network. Stop this with Ctrl-C and name trained plugins: kitbox look NAME"
      : EMPTY[this.list];
    this.page.show(this, make("p", { class: "empty", text: hint }));
  }

  render() {
    for (const viewer of this.viewers) viewer.watcher?.disconnect();
    const { images } = this.item;
    this.current = Math.min(this.current, images.length - 1);
    this.viewers = images.map((image) => new ImageViewer(image));
    this.cards = images.map((image, place) => imageCard(this, image, place));
    this.page.show(
      this,
      itemHeader(this),
      this.item.first ? this.groups() : make("div", { class: `cards of${Math.min(images.length, 4)}` }, this.cards),
      this.toolbar = make("div", {}),
    );
    this.choose(this.current);
    if (this.page.zoomToBox) for (const viewer of this.viewers) viewer.showBox();
    this.fetchAhead();
  }

  // The two groups of one label, side by side.
  groups() {
    const { first } = this.item;
    const groups = [this.cards.slice(0, first), this.cards.slice(first)];
    return make("div", { class: "groups" }, groups.map((cards, group) => make("section", {},
      make("h2", {}, make("button", { type: "button", text: `Choose these ${cards.length}`, onclick: () => this.chooseGroup(group) })),
      make("div", { class: "cards small" }, cards))));
  }

  chooseGroup(group) {
    const { first, images } = this.item;
    const [from, to] = group ? [first, images.length] : [0, first];
    this.choose(from);
    for (let place = from + 1; place < to; place += 1) this.choose(place, true);
  }

  bar() {
    const merge = actions.sameIndividual(this.item.images, this.page.overview.unknown);
    return this.page.buttonBar([
      ["m", "Same individual", merge.length ? actions.sentence(merge) : this.refusal("m")],
      ["f", "Fine", this.refusal("f") || "as they are"],
      ["d", "Drop", "leave it out"], ["w", "Wrong label", "do not trust it"],
      ["l", "Label…", "set the individual"], ["t", "Training", "never a query"],
      ["b", "Box…", "draw, correct"], ["u", "Undo", "take back"],
    ].filter(([key]) => !actions.KINDS[key] || !this.refusal(key)), this);
  }

  // Why a key does nothing here; '' if it does something.
  refusal(key) {
    const { images, settledFine } = this.item;
    const kind = actions.KINDS[key];
    if (kind === "box") return actions.refusal(kind, [images[this.current]]);
    if (kind) return actions.refusal(kind, this.chosenImages);
    if (key === "f") {
      if (!actions.fine(this.item).length) return "needs two images";
      return settledFine ? "fine already" : "";
    }
    if (key !== "m") return "";
    const { unknown } = this.page.overview;
    return actions.sameIndividual(images, unknown).length ? "" : actions.whyNotSame(images, unknown);
  }

  choose(place, more = false) {
    if (place < 0 || place >= this.cards.length) return;
    if (!more) this.chosen.clear();
    this.current = place;
    this.chosen.add(place);
    this.cards.forEach((card, number) => {
      card.classList.toggle("chosen", this.chosen.has(number));
      card.classList.toggle("current", number === this.current);
    });
    const bar = this.bar(); // what the chosen images take
    this.toolbar.replaceWith(bar);
    this.toolbar = bar;
  }

  get chosenImages() {
    return [...this.chosen].sort((a, b) => a - b).map((place) => this.item.images[place]);
  }

  get viewer() {
    return this.viewers[this.current];
  }

  keys() {
    const steps = this.list === "pair" ? [] : [
      ["n", "next item", () => this.go(this.place + 1)],
      ["p", "previous item", () => this.go(this.place - 1)],
      ["o", "next open item", () => this.next()],
    ];
    return [
      ["m", "the same individual: merge the labels", () => this.decide(this.merge())],
      ["f", "fine as they are", () => this.decide(actions.fine(this.item))],
      ["d", "drop the chosen image", () => this.decide(actions.each("drop", this.chosenImages))],
      ["w", "the label of the chosen image is wrong", () => this.decide(actions.each("wrong", this.chosenImages))],
      ["l", "give the chosen image another label", () => this.label()],
      ["t", "keep the chosen image in training", () => this.decide(actions.each("train", this.chosenImages), false)],
      ["b", "draw or correct the box", () => this.box()],
      ["u", "undo", () => this.page.undo()],
      ...steps,
      ["ArrowLeft", "choose the previous image", () => this.choose(this.current - 1)],
      ["ArrowRight", "choose the next image", () => this.choose(this.current + 1)],
      [" ", "add the next image to the choice, or remove this one", () => this.toggle()],
      ["1–9", "choose by number", null],
      ...(this.item.first ? [["s", "choose the second group", () => this.chooseGroup(1)]] : []),
      ["c", "zoom to the boxes, or out again", () => this.toggleZoom()],
      ["+", "zoom in", () => this.viewer.zoom(1.5)],
      ["-", "zoom out", () => this.viewer.zoom(1 / 1.5)],
      ["0", "whole picture", () => this.viewer.showWhole()],
      ["Enter", "show details of the chosen image", () => this.page.navigate(`#/image/${encodeURIComponent(this.item.images[this.current].id)}`)],
    ].filter(([key]) => !this.refusal(key));
  }

  digit(number) {
    this.choose(number - 1);
  }

  toggle() {
    if (this.chosen.has(this.current) && this.chosen.size > 1) {
      this.chosen.delete(this.current);
      this.current = [...this.chosen][0];
      this.choose(this.current, true);
    } else this.choose((this.current + 1) % this.cards.length, true);
  }

  toggleZoom() {
    this.page.zoomToBox = !this.page.zoomToBox;
    for (const viewer of this.viewers) this.page.zoomToBox ? viewer.showBox() : viewer.showWhole();
  }

  merge() {
    return actions.sameIndividual(this.item.images, this.page.overview.unknown);
  }

  async label() {
    const images = this.chosenImages;
    const near = [...new Set(this.item.images.map((image) => image.label))]
      .filter((label) => label && label !== this.page.overview.unknown);
    const label = await this.page.askForLabel(images, near.slice(0, 9));
    if (label) await this.decide(actions.each("label", images, label));
  }

  async box() {
    const image = this.item.images[this.current];
    const corners = await drawBox(this.page.dialog, image);
    if (corners) await this.decide(actions.box(image, corners), false);
  }

  // Records decisions, and moves to the next open item once this one is settled.
  async decide(rows, advance = true) {
    await this.page.decide(rows);
    await this.reload();
    const here = this.page.pending === this && this.list !== "pair";
    if (!(advance && here && this.item.settled)) return;
    await this.next();
    this.page.holdKeys(Promise.all(this.viewers.map((viewer) => viewer.ready())));
  }

  async reload() {
    this.fetched.clear();
    await this.open();
  }

  go(place) {
    if (!this.items || place < 0) return undefined;
    if (place >= this.items.length) return this.page.showMessage("This is the last item.");
    return this.page.navigate(`#/${this.list}/${place + 1}`);
  }

  next() {
    const after = this.items.findIndex((item, place) => place > this.place && !item.settled);
    const place = after >= 0 ? after : this.firstOpen();
    return place < 0 ? this.page.showMessage("All items are decided.") : this.go(place);
  }

  fetchAhead() {
    if (!this.items) return;
    const open = this.items.flatMap((item, place) => (place > this.place && !item.settled ? [place] : []));
    for (const place of new Set([this.place + 1, ...open.slice(0, 2)])) {
      if (place >= this.items.length || this.fetched.has(place)) continue;
      const promise = get("/api/item", { list: this.list, place });
      promise.then((item) => { this.preloaded = preload(item.images); }).catch(() => {});
      this.fetched.set(place, promise);
    }
  }
}

export function pairAddress(ids) {
  return `#/pair?${ids.map((id) => `id=${encodeURIComponent(id)}`).join("&")}`;
}
