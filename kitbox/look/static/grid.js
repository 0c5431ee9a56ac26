// All images: filtered, sorted, page by page.

import { make } from "./make.js";
import { tile } from "./tiles.js";
import { get } from "./wire.js";

const ORDERS = { listed: "as listed", individual: "by individual", photographs: "most photographs first" };

export class Grid {
  constructor(page, wish) {
    this.page = page;
    this.wish = wish;
    this.at = -1;
  }

  async open() {
    this.found = await get("/api/images", this.wish);
    this.page.walk = this.found.images.map((image) => image.id);
    this.render();
  }

  render() {
    const { found, wish } = this;
    const { sides, only } = this.page.overview;
    this.words = make("input", {
      type: "search", value: wish.words ?? "", placeholder: "Image or label ( / )",
      "aria-label": "Search images and labels",
      onchange: () => this.ask({ words: this.words.value }),
    });
    this.tiles = found.images.map((image) => tile(image, {
      href: `#/image/${encodeURIComponent(image.id)}`,
    }));
    this.page.show(
      this,
      make("div", { class: "filters" },
        this.words,
        this.select("side", "Side", [["", "all sides"], ...sides.map((one) => [one, one])]),
        this.select("only", "Only", only.map((one) => [one, one === "all" ? "everything" : one])),
        this.select("order", "Order", Object.entries(ORDERS)),
        wish.label ? make("button", { type: "button", class: "tag", text: `${wish.label} ×`, title: "All individuals", onclick: () => this.ask({ label: "" }) }) : null,
        make("span", { class: "gap" }),
        make("span", { class: "soft", text: `${found.total.toLocaleString("en")} images` })),
      found.total ? make("div", { class: "tiles" }, this.tiles) : make("p", { class: "empty", text: "No image is like that." }),
      found.pages > 1 ? make("div", { class: "pager" },
        make("button", { type: "button", text: "← Previous", disabled: found.page === 1, onclick: () => this.turn(-1) }),
        make("span", { text: `page ${found.page} of ${found.pages}` }),
        make("button", { type: "button", text: "Next →", disabled: found.page === found.pages, onclick: () => this.turn(1) })) : null,
    );
  }

  select(name, title, options) {
    const chosen = make("select", { "aria-label": title, onchange: () => this.ask({ [name]: chosen.value }) },
      options.map(([value, text]) => make("option", { value, text })));
    chosen.value = this.wish[name] ?? options[0][0];
    return chosen;
  }

  ask(change) {
    const wish = Object.entries({ ...this.wish, page: "", ...change }).filter(([, value]) => value !== "");
    return this.page.move(`#/images?${new URLSearchParams(wish)}`);
  }

  turn(by) {
    const page = this.found.page + by;
    return page < 1 || page > this.found.pages ? undefined : this.ask({ page: String(page) });
  }

  step(by) {
    if (!this.tiles.length) return;
    this.at = Math.max(0, Math.min(this.tiles.length - 1, this.at + by));
    this.tiles[this.at].focus();
  }

  across() {
    const top = this.tiles[0]?.offsetTop;
    return Math.max(1, this.tiles.filter((tile) => tile.offsetTop === top).length);
  }

  keys() {
    return [
      ["/", "search", () => { this.words.focus(); this.words.select(); }],
      ["n", "next page", () => this.turn(1)],
      ["p", "previous page", () => this.turn(-1)],
      ["ArrowRight", "next image", () => this.step(1)],
      ["ArrowLeft", "previous image", () => this.step(-1)],
      ["ArrowDown", "image below", () => this.step(this.at < 0 ? 1 : this.across())],
      ["ArrowUp", "image above", () => this.step(-this.across())],
      ["Enter", "open it", null],
      ["u", "undo", () => this.page.undo()],
    ];
  }

  again() {
    return this.open();
  }
}
