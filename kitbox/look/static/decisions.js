// The rows of decisions.csv, the last one first, each with a button to take it back.

import { get, post } from "./api.js";
import { make } from "./elements.js";
import { thumbnail } from "./tiles.js";

export class DecisionsView {
  constructor(page) {
    this.page = page;
  }

  async open() {
    this.rows = await get("/api/decisions");
    const source = make("p", { class: "soft", text: `${this.rows.length} rows in ${this.page.overview.file}` });
    this.page.show(this, source, this.rows.length ? this.table() : make("p", {
      class: "empty", text: "No decisions yet.",
    }));
  }

  table() {
    return make("table", { class: "decisions" },
      make("thead", {}, make("tr", {}, ["", "decision", "subject", "value", "note", "by", ""].map((name) => make("th", { scope: "col", text: name })))),
      make("tbody", {}, this.rows.map((row) => this.row(row))));
  }

  row(row) {
    const { kind, subject, value, note, by, time } = row;
    const button = make("button", { type: "button", text: "Take back", onclick: () => this.takeBack(row) });
    return make("tr", {},
      make("td", {}, make("div", { class: "pictures" }, row.images.map((image) => thumbnail(image)))),
      make("td", {}, make("b", { text: kind })),
      make("td", { text: subject }),
      make("td", { text: value }),
      make("td", { text: note }),
      make("td", { title: time || null }, make("span", { text: by }), time ? make("span", { class: "soft", text: ` ${time.slice(0, 10)}` }) : null),
      make("td", {}, button));
  }

  async takeBack({ kind, subject, value, note, by, time }) {
    await this.page.attempt(async () => {
      this.page.update(await post("/api/take-back", { decision: { kind, subject, value, note, by, time } }));
      this.page.showMessage(`Taken back: ${kind} ${subject}`);
      await this.open();
    });
  }

  keys() {
    return [["u", "undo the last decision since the start", () => this.page.undo(true)]];
  }

  reload() {
    return this.open();
  }
}
