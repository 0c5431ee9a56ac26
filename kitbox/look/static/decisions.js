// What was decided: every row of decisions.csv, the last one first, to be taken back.

import { make } from "./make.js";
import { tiny } from "./tiles.js";
import { get, post } from "./wire.js";

export class Decisions {
  constructor(page) {
    this.page = page;
  }

  async open() {
    this.rows = await get("/api/decisions");
    const where = make("p", { class: "soft", text: `${this.rows.length} rows in ${this.page.overview.file}` });
    this.page.show(this, where, this.rows.length ? this.table() : make("p", {
      class: "empty", text: "Nothing is decided yet.",
    }));
  }

  table() {
    return make("table", { class: "decisions" },
      make("thead", {}, make("tr", {}, ["", "decision", "subject", "value", "note", ""].map((name) => make("th", { scope: "col", text: name })))),
      make("tbody", {}, this.rows.map((row) => this.row(row))));
  }

  row(row) {
    const { kind, subject, value, note } = row;
    const back = make("button", { type: "button", text: "Take back", onclick: () => this.takeBack(row) });
    return make("tr", {},
      make("td", {}, make("div", { class: "pictures" }, row.images.map((image) => tiny(image)))),
      make("td", {}, make("b", { text: kind })),
      make("td", { text: subject }),
      make("td", { text: value }),
      make("td", { text: note }),
      make("td", {}, back));
  }

  async takeBack({ kind, subject, value, note }) {
    await this.page.attempt(async () => {
      this.page.tell(await post("/api/take-back", { decision: { kind, subject, value, note } }));
      this.page.say(`Taken back: ${kind} ${subject}`);
      await this.open();
    });
  }

  keys() {
    return [["u", "undo the last of this start", () => this.page.undo(true)]];
  }

  again() {
    return this.open();
  }
}
