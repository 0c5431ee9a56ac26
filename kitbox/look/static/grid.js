// All images, filtered and sorted, page by page.

import { get } from "./api.js";
import { make } from "./elements.js";
import { tile } from "./tiles.js";

const ORDERS = { listed: "as listed", individual: "by individual", photographs: "most photographs first" };

export class GridView {
  constructor(page, filter) {
    this.page = page;
    this.filter = filter;
    this.focused = -1;
  }

  async open() {
    this.result = await get("/api/images", this.filter);
    this.page.sequence = this.result.images.map((image) => image.id);
    this.render();
  }

  render() {
    const { result, filter } = this;
    const { sides, filters } = this.page.overview;
    this.text = make("input", {
      type: "search", value: filter.text ?? "", placeholder: "Image or label ( / )",
      "aria-label": "Search images and labels",
      onchange: () => this.change({ text: this.text.value }),
    });
    this.tiles = result.images.map((image) => tile(image, {
      href: `#/image/${encodeURIComponent(image.id)}`,
    }));
    this.page.show(
      this,
      make("div", { class: "filters" },
        this.text,
        this.select("side", "Side", [["", "all sides"], ...sides.map((one) => [one, one])]),
        this.select("filter", "Filter", filters.map((one) => [one, one === "all" ? "all images" : one])),
        this.select("order", "Order", Object.entries(ORDERS)),
        filter.label ? make("button", { type: "button", class: "tag", text: `${filter.label} ×`, title: "Show all individuals", onclick: () => this.change({ label: "" }) }) : null,
        make("span", { class: "spacer" }),
        make("span", { class: "soft", text: `${result.total.toLocaleString("en")} images` })),
      result.total ? make("div", { class: "tiles" }, this.tiles) : make("p", { class: "empty", text: "No image matches." }),
      result.pages > 1 ? make("div", { class: "pager" },
        make("button", { type: "button", text: "← Previous", disabled: result.page === 1, onclick: () => this.turn(-1) }),
        make("span", { text: `page ${result.page} of ${result.pages}` }),
        make("button", { type: "button", text: "Next →", disabled: result.page === result.pages, onclick: () => this.turn(1) })) : null,
    );
  }

  select(name, title, options) {
    const chosen = make("select", { "aria-label": title, onchange: () => this.change({ [name]: chosen.value }) },
      options.map(([value, text]) => make("option", { value, text })));
    chosen.value = this.filter[name] ?? options[0][0];
    return chosen;
  }

  change(values) {
    const filter = Object.entries({ ...this.filter, page: "", ...values }).filter(([, value]) => value !== "");
    return this.page.navigate(`#/images?${new URLSearchParams(filter)}`);
  }

  turn(by) {
    const page = this.result.page + by;
    return page < 1 || page > this.result.pages ? undefined : this.change({ page: String(page) });
  }

  step(by) {
    if (!this.tiles.length) return;
    this.focused = Math.max(0, Math.min(this.tiles.length - 1, this.focused + by));
    this.tiles[this.focused].focus();
  }

  columns() {
    const top = this.tiles[0]?.offsetTop;
    return Math.max(1, this.tiles.filter((tile) => tile.offsetTop === top).length);
  }

  keys() {
    return [
      ["/", "search", () => { this.text.focus(); this.text.select(); }],
      ["n", "next page", () => this.turn(1)],
      ["p", "previous page", () => this.turn(-1)],
      ["ArrowRight", "next image", () => this.step(1)],
      ["ArrowLeft", "previous image", () => this.step(-1)],
      ["ArrowDown", "image below", () => this.step(this.focused < 0 ? 1 : this.columns())],
      ["ArrowUp", "image above", () => this.step(-this.columns())],
      ["Enter", "open the image", null],
      ["u", "undo", () => this.page.undo()],
    ];
  }

  reload() {
    return this.open();
  }
}
