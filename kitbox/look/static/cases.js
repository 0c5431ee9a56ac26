// Cases side by side: suspects, duplicates, and images that a person put beside each other.

import * as acts from "./acts.js";
import { draw } from "./box.js";
import { card, head } from "./cards.js";
import { make } from "./make.js";
import { Stage, preload } from "./stage.js";
import { get } from "./wire.js";

const NONE = {
  suspects: "No suspects: no two individuals look like one, and none looks like two.",
  duplicates: "No copies and no near-duplicates that are not decided.",
};

export class Cases {
  constructor(page, what, place, ids = []) {
    this.page = page;
    this.what = what;
    this.wanted = place; // null: the first that is open
    this.place = null;
    this.ids = ids;
    this.at = 0;
    this.chosen = new Set();
    this.stages = [];
    this.ahead = new Map();
  }

  async open() {
    if (this.what === "pair") {
      this.case = await get("/api/side-by-side", { id: this.ids });
    } else {
      const { wanted } = this;
      this.wanted = null;
      this.list = await get("/api/cases", { what: this.what });
      if (!this.list.length) return this.empty();
      const place = Math.max(0, Math.min(this.list.length - 1, wanted ?? this.place ?? this.firstOpen()));
      const found = await this.fetched(place);
      if (place !== this.place) this.at = 0;
      Object.assign(this, { place, case: found }); // together: keys decide of what is shown
    }
    this.render();
  }

  firstOpen() {
    return this.list.findIndex((one) => !one.settled);
  }

  get address() {
    return this.list && `#/${this.what}/${this.place + 1}`;
  }

  fetched(place) {
    const kept = this.ahead.get(place) ?? get("/api/case", { what: this.what, place });
    this.ahead.delete(place);
    return kept;
  }

  empty() {
    const hint = this.what === "suspects" && !this.page.overview.by.length
      ? "Suspects are found by what a network sees. End this with Ctrl-C and name trained plugins: kitbox look NAME"
      : NONE[this.what];
    this.page.show(this, make("p", { class: "empty", text: hint }));
  }

  render() {
    for (const stage of this.stages) stage.watcher?.disconnect();
    const { images } = this.case;
    this.at = Math.min(this.at, images.length - 1);
    this.stages = images.map((image) => new Stage(image));
    this.cards = images.map((image, place) => card(this, image, place));
    this.page.show(
      this,
      head(this),
      this.case.first ? this.sides() : make("div", { class: `cards of${Math.min(images.length, 4)}` }, this.cards),
      this.bar(),
    );
    this.choose(this.at);
    if (this.page.nearBox) for (const stage of this.stages) stage.near();
    this.fetchAhead();
  }

  // The two groups of one label, beside each other.
  sides() {
    const { first } = this.case;
    const parts = [this.cards.slice(0, first), this.cards.slice(first)];
    return make("div", { class: "sides" }, parts.map((cards, side) => make("section", {},
      make("h2", {}, make("button", { type: "button", text: `Choose these ${cards.length}`, onclick: () => this.chooseSide(side) })),
      make("div", { class: "cards small" }, cards))));
  }

  chooseSide(side) {
    const { first, images } = this.case;
    const [from, to] = side ? [first, images.length] : [0, first];
    this.choose(from);
    for (let place = from + 1; place < to; place += 1) this.choose(place, true);
  }

  bar() {
    const merge = acts.same(this.case.images, this.page.overview.unknown);
    const says = merge.length ? acts.words(merge) : "one label already";
    const bar = this.page.bar([
      ["m", "Same individual", says], ["f", "Fine", "as they are"],
      ["d", "Drop", "leave it out"], ["w", "Wrong label", "do not trust it"],
      ["l", "Label…", "whom it shows"], ["t", "Training", "never asked"],
      ["b", "Box…", "draw, correct"], ["u", "Undo", "take back"],
    ], this);
    bar.firstChild.classList.toggle("idle", !merge.length);
    return bar;
  }

  choose(place, more = false) {
    if (place < 0 || place >= this.cards.length) return;
    if (!more) this.chosen.clear();
    this.at = place;
    this.chosen.add(place);
    this.cards.forEach((card, number) => {
      card.classList.toggle("chosen", this.chosen.has(number));
      card.classList.toggle("at", number === this.at);
    });
  }

  get picked() {
    return [...this.chosen].sort((a, b) => a - b).map((place) => this.case.images[place]);
  }

  get stage() {
    return this.stages[this.at];
  }

  keys() {
    const steps = this.what === "pair" ? [] : [
      ["n", "next case", () => this.go(this.place + 1)],
      ["p", "previous case", () => this.go(this.place - 1)],
      ["o", "next case that is open", () => this.next()],
    ];
    return [
      ["m", "the same individual: merge the labels", () => this.decide(this.merged())],
      ["f", "fine as they are", () => this.decide(acts.fine(this.case))],
      ["d", "drop the chosen image", () => this.decide(acts.each("drop", this.picked))],
      ["w", "the label of the chosen image is wrong", () => this.decide(acts.each("wrong", this.picked))],
      ["l", "give the chosen image another label", () => this.label()],
      ["t", "keep the chosen image in training", () => this.decide(acts.each("train", this.picked), false)],
      ["b", "draw or correct the box", () => this.box()],
      ["u", "undo", () => this.page.undo()],
      ...steps,
      ["ArrowLeft", "choose the image before", () => this.choose(this.at - 1)],
      ["ArrowRight", "choose the image after", () => this.choose(this.at + 1)],
      [" ", "choose one more, or one less", () => this.toggle()],
      ["1–9", "choose by number", null],
      ...(this.case.first ? [["s", "choose the second group", () => this.chooseSide(1)]] : []),
      ["c", "look at the boxes, or at the whole", () => this.crop()],
      ["+", "enlarge", () => this.stage.zoom(1.5)],
      ["-", "make smaller", () => this.stage.zoom(1 / 1.5)],
      ["0", "whole picture", () => this.stage.whole()],
      ["Enter", "all about the chosen image", () => this.page.move(`#/image/${encodeURIComponent(this.case.images[this.at].id)}`)],
    ];
  }

  digit(number) {
    this.choose(number - 1);
  }

  toggle() {
    if (this.chosen.has(this.at) && this.chosen.size > 1) {
      this.chosen.delete(this.at);
      this.at = [...this.chosen][0];
      this.choose(this.at, true);
    } else this.choose((this.at + 1) % this.cards.length, true);
  }

  crop() {
    this.page.nearBox = !this.page.nearBox;
    for (const stage of this.stages) this.page.nearBox ? stage.near() : stage.whole();
  }

  merged() {
    const rows = acts.same(this.case.images, this.page.overview.unknown);
    if (!rows.length) throw new Error("these images show one individual already");
    return rows;
  }

  async label() {
    const images = this.picked;
    const near = [...new Set(this.case.images.map((image) => image.label))]
      .filter((label) => label && label !== this.page.overview.unknown);
    const label = await this.page.ask(images, near.slice(0, 9));
    if (label) await this.decide(acts.each("label", images, label));
  }

  async box() {
    const image = this.case.images[this.at];
    if (image.problem) throw new Error("this image cannot be read");
    const corners = await draw(this.page.dialog, image);
    if (corners) await this.decide(acts.box(image, corners), false);
  }

  // Decides, and goes on to the next open case when nothing is left to decide here.
  async decide(rows, goOn = true) {
    await this.page.decide(rows);
    await this.again();
    const here = this.page.coming === this && this.what !== "pair";
    if (!(goOn && here && this.case.settled)) return;
    await this.next();
    this.page.glance(Promise.all(this.stages.map((stage) => stage.ready())));
  }

  async again() {
    this.ahead.clear();
    await this.open();
  }

  go(place) {
    if (!this.list || place < 0) return undefined;
    if (place >= this.list.length) return this.page.say("That was the last one.");
    return this.page.move(`#/${this.what}/${place + 1}`);
  }

  next() {
    const after = this.list.findIndex((one, place) => place > this.place && !one.settled);
    const place = after >= 0 ? after : this.list.findIndex((one) => !one.settled);
    return place < 0 ? this.page.say("All are decided.") : this.go(place);
  }

  fetchAhead() {
    if (!this.list) return;
    const places = this.list.flatMap((one, place) => (place > this.place && !one.settled ? [place] : []));
    for (const place of new Set([this.place + 1, ...places.slice(0, 2)])) {
      if (place >= this.list.length || this.ahead.has(place)) continue;
      const coming = get("/api/case", { what: this.what, place });
      coming.then((found) => { this.loading = preload(found.images); }).catch(() => {});
      this.ahead.set(place, coming);
    }
  }
}

export function pairAddress(ids) {
  return `#/pair?${ids.map((id) => `id=${encodeURIComponent(id)}`).join("&")}`;
}

