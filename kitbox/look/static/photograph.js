// One photograph: large, its individual's others, its nearest neighbours.

import * as acts from "./acts.js";
import { draw } from "./box.js";
import { pairAddress } from "./cases.js";
import { chip, make, marks, percent } from "./make.js";
import { Stage } from "./stage.js";
import { tile } from "./tiles.js";
import { get } from "./wire.js";

export class Photograph {
  constructor(page, id) {
    this.page = page;
    this.id = id;
  }

  async open() {
    this.image = await get("/api/image", { id: this.id });
    this.render();
  }

  render() {
    const { image, page } = this;
    const { unknown } = page.overview;
    this.stage?.watcher?.disconnect();
    this.stage = new Stage(image);
    const same = image.label && image.label !== unknown
      ? this.section(`Also ${image.label}`, image.same, image.photographs > 1 ? "" : "Its only photograph.")
      : null;
    const by = page.overview.by.length ? `by ${page.overview.by.join(", ")}` : "by perceptual hash";
    page.show(
      this,
      make("div", { class: "photograph" },
        make("article", { class: image.out ? "card at out" : "card at", "aria-label": image.id },
          this.stage.element,
          make("div", { class: "caption" },
            chip(image.label, unknown),
            make("span", { class: "soft", text: image.width ? `${image.width} × ${image.height} pixels` : "" }),
            make("span", { class: "gap" }),
            make("span", { class: "id", text: image.id })),
          make("div", { class: "marks" }, marks(image))),
        make("div", { class: "around" },
          same,
          this.section(`Nearest ${by}`, image.nearest, image.problem ? "" : "Nothing to compare with."))),
      page.bar([
        ["m", "Beside", "its nearest one"], ["d", "Drop", "leave it out"],
        ["w", "Wrong label", "do not trust it"], ["l", "Label…", "whom it shows"],
        ["t", "Training", "never asked"], ["b", "Box…", "draw, correct"],
        ["u", "Undo", "take back"],
      ], this),
    );
    if (page.nearBox) this.stage.near();
  }

  section(title, images, none) {
    const shown = images.length
      ? make("div", { class: "tiles small" }, images.map((other) => tile(other, {
        href: pairAddress([this.id, other.id]),
        title: "Side by side",
        note: percent(other.similarity),
        hit: other.similarity !== undefined && other.label === this.image.label
          && other.label && other.label !== this.page.overview.unknown,
      })))
      : make("p", { class: "soft", text: none });
    return make("section", {}, make("h2", { text: title }), shown);
  }

  keys() {
    const decide = (kind) => () => this.decide(acts.each(kind, [this.image]));
    return [
      ["d", "drop it", decide("drop")],
      ["w", "its label is wrong", decide("wrong")],
      ["l", "give it another label", () => this.label()],
      ["t", "keep it in training", decide("train")],
      ["b", "draw or correct its box", () => this.box()],
      ["m", "it and its nearest neighbour side by side", () => this.beside()],
      ["u", "undo", () => this.page.undo()],
      ["n", "next image", () => this.page.along(this.id, 1)],
      ["p", "previous image", () => this.page.along(this.id, -1)],
      ["c", "look at the box, or at the whole", () => this.crop()],
      ["+", "enlarge", () => this.stage.zoom(1.5)],
      ["-", "make smaller", () => this.stage.zoom(1 / 1.5)],
      ["0", "whole picture", () => this.stage.whole()],
    ];
  }

  crop() {
    this.page.nearBox = !this.page.nearBox;
    this.page.nearBox ? this.stage.near() : this.stage.whole();
  }

  beside() {
    const [first] = this.image.nearest;
    if (!first) throw new Error("nothing is near this image");
    return this.page.move(pairAddress([this.id, first.id]));
  }

  async label() {
    const named = [this.image, ...this.image.nearest].map((image) => image.label);
    const near = [...new Set(named)].filter((label) => label && label !== this.page.overview.unknown);
    const label = await this.page.ask([this.image], near.slice(0, 6));
    if (label) await this.decide(acts.each("label", [this.image], label));
  }

  async box() {
    if (this.image.problem) throw new Error("this image cannot be read");
    const corners = await draw(this.page.dialog, this.image);
    if (corners) await this.decide(acts.box(this.image, corners));
  }

  async decide(rows) {
    await this.page.decide(rows);
    await this.open();
  }

  again() {
    return this.open();
  }
}
