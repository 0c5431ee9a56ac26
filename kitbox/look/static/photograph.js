// One photograph, with others of its individual and its nearest neighbours.

import * as actions from "./actions.js";
import { get } from "./api.js";
import { drawBox } from "./box_editor.js";
import { badges, formatSimilarity, labelChip, make } from "./elements.js";
import { pairAddress } from "./items.js";
import { tile } from "./tiles.js";
import { ImageViewer } from "./viewer.js";

export class PhotographView {
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
    this.viewer?.watcher?.disconnect();
    this.viewer = new ImageViewer(image);
    const same = image.label && image.label !== unknown
      ? this.section(`Also ${image.label}`, image.sameIndividual, image.photographCount > 1 ? "" : "Its only photograph.")
      : null;
    const by = page.overview.by.length ? `by ${page.overview.by.join(", ")}` : "by perceptual hash";
    page.show(
      this,
      make("div", { class: "photograph" },
        make("article", { class: image.excluded ? "card current excluded" : "card current", "aria-label": image.id },
          this.viewer.element,
          make("div", { class: "caption" },
            labelChip(image.label, unknown),
            make("span", { class: "soft", text: image.width ? `${image.width} × ${image.height} pixels` : "" }),
            make("span", { class: "spacer" }),
            make("span", { class: "id", text: image.id })),
          make("div", { class: "badges" }, badges(image))),
        make("div", { class: "related" },
          same,
          this.section(`Nearest ${by}`, image.nearest, image.problem ? "" : "No other image to compare with."))),
      page.buttonBar([
        ["m", "Compare", "with its nearest"], ["d", "Drop", "leave it out"],
        ["w", "Wrong label", "do not trust it"], ["l", "Label…", "set the individual"],
        ["t", "Training", "never a query"], ["b", "Box…", "draw, correct"],
        ["u", "Undo", "take back"],
      ].filter(([key]) => !this.refusal(key)), this),
    );
    if (page.zoomToBox) this.viewer.showBox();
  }

  section(title, images, empty) {
    const content = images.length
      ? make("div", { class: "tiles small" }, images.map((other) => tile(other, {
        href: pairAddress([this.id, other.id]),
        title: "Side by side",
        note: formatSimilarity(other.similarity),
        hit: other.similarity !== undefined && other.label === this.image.label
          && other.label && other.label !== this.page.overview.unknown,
      })))
      : make("p", { class: "soft", text: empty });
    return make("section", {}, make("h2", { text: title }), content);
  }

  // Why a key does nothing here; '' if it does something.
  refusal(key) {
    const kind = actions.KINDS[key];
    if (kind) return actions.refusal(kind, [this.image]);
    return key === "m" && !this.image.nearest.length ? "no other image to compare with" : "";
  }

  keys() {
    const decide = (kind) => () => this.decide(actions.each(kind, [this.image]));
    return [
      ["d", "drop it", decide("drop")],
      ["w", "its label is wrong", decide("wrong")],
      ["l", "give it another label", () => this.label()],
      ["t", "keep it in training", decide("train")],
      ["b", "draw or correct its box", () => this.box()],
      ["m", "compare it with its nearest neighbour", () => this.compare()],
      ["u", "undo", () => this.page.undo()],
      ["n", "next image", () => this.page.neighbour(this.id, 1)],
      ["p", "previous image", () => this.page.neighbour(this.id, -1)],
      ["c", "zoom to the box, or out again", () => this.toggleZoom()],
      ["+", "zoom in", () => this.viewer.zoom(1.5)],
      ["-", "zoom out", () => this.viewer.zoom(1 / 1.5)],
      ["0", "whole picture", () => this.viewer.showWhole()],
    ].filter(([key]) => !this.refusal(key));
  }

  toggleZoom() {
    this.page.zoomToBox = !this.page.zoomToBox;
    this.page.zoomToBox ? this.viewer.showBox() : this.viewer.showWhole();
  }

  compare() {
    const [first] = this.image.nearest;
    return this.page.navigate(pairAddress([this.id, first.id]));
  }

  async label() {
    const labels = [this.image, ...this.image.nearest].map((image) => image.label);
    const near = [...new Set(labels)].filter((label) => label && label !== this.page.overview.unknown);
    const label = await this.page.askForLabel([this.image], near.slice(0, 6));
    if (label) await this.decide(actions.each("label", [this.image], label));
  }

  async box() {
    const corners = await drawBox(this.page.dialog, this.image);
    if (corners) await this.decide(actions.box(this.image, corners));
  }

  async decide(rows) {
    await this.page.decide(rows);
    await this.open();
  }

  reload() {
    return this.open();
  }
}
