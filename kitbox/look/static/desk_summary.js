// What the queue of the matching desk has come to: its end, and what people disagree about.

import { get } from "./api.js";
import { opinion, person } from "./desk.js";
import { make } from "./elements.js";
import { thumbnail } from "./tiles.js";

const count = (number, one, many) => `${number} ${number === 1 ? one : many}`;

export class DeskSummaryView {
  constructor(page) {
    this.page = page;
    this.address = "#/match/end";
  }

  async open() {
    this.desk = await get("/api/desk");
    const { settled, results, then, person: own } = this.desk;
    const open = settled.filter((done) => !done).length;
    const total = settled.length;
    const lines = [
      [results.same, `photograph${results.same === 1 ? "" : "s"} of ${count(results.individuals, "known individual", "known individuals")}`],
      [results.new, `of ${results.new === 1 ? "a new individual" : "new individuals"}`],
      [this.desk.reached, "through decisions about other photographs"],
      [results.unsure, "where you cannot tell"],
      [results.poor, `poor picture${results.poor === 1 ? "" : "s"}`],
    ].filter(([number]) => number);
    this.page.show(this, make("section", { class: "summary" },
      make("h2", { text: open ? `${count(open, "query is", "queries are")} open` : total ? "All queries are decided" : "Nothing to match" }),
      make("p", { class: "soft", text: own ? `What ${own} decided:` : "What you decided:" }),
      lines.length ? make("ul", {}, lines.map(([number, text]) => make("li", {}, make("b", { text: number }), ` ${text}`))) : make("p", { text: "Nothing yet." }),
      this.people(total),
      this.remarks(),
      then ? make("div", { class: "then" },
        make("p", { text: open ? "When you are through, stop this page with Ctrl-C in the terminal, and type:" : "Next, stop this page with Ctrl-C in the terminal, and type:" }),
        make("code", { text: then })) : null,
      make("div", { class: "row" },
        open ? make("a", { class: "button main", href: "#/match", text: "Next open query (o)" }) : null,
        total ? make("a", { class: "button", href: "#/match/1", text: "First query" }) : null,
        make("a", { class: "button", href: "#/decisions", text: "All decisions" }))));
  }

  // The progress of everyone who decided about the queue.
  people(total) {
    return make("table", { class: "people" }, this.desk.people.map(({ name, decided }) => make("tr", {},
      make("th", { scope: "row", text: person(name) }),
      make("td", {}, make("progress", { max: Math.max(total, 1), value: decided, "aria-label": `decided by ${person(name)}` })),
      make("td", { text: `${decided} of ${total}` }))));
  }

  remarks() {
    const { contradictions, disagreements, gone, unused } = this.desk;
    return [
      contradictions.map((text) => make("p", { class: "alarm", text: `These decisions contradict each other and do not count: ${text}` })),
      disagreements ? make("p", {}, make("a", { class: "alarm", href: "#/disagreements", text: `${count(disagreements, "query", "queries")} about which people disagree (g)` })) : null,
      gone.length ? make("p", { class: "alarm", text: `${count(gone.length, "photograph", "photographs")} of decisions that no list has any more, such as ${gone[0]}; the decisions stay in decisions.csv` }) : null,
      unused ? make("p", { class: "alarm", text: unused }) : null,
    ];
  }

  keys() {
    return [
      ["o", "next open query", () => this.page.navigate("#/match")],
      ["g", "disagreements", () => this.page.navigate("#/disagreements")],
      ["u", "take back the last answer", () => this.page.undo()],
    ];
  }

  reload() {
    return this.open();
  }
}

// Queries about which two people cannot both be right.
export class DisagreementsView {
  constructor(page) {
    this.page = page;
  }

  async open() {
    this.rows = await get("/api/desk/disagreements");
    this.page.show(this,
      make("p", { class: "soft", text: "The last answer counts; open a query to answer again." }),
      this.rows.length ? make("table", { class: "decisions" },
        make("thead", {}, make("tr", {}, ["", "query", "answers"].map((name) => make("th", { scope: "col", text: name })))),
        make("tbody", {}, this.rows.map(({ place, image, answers }) => make("tr", {},
          make("td", {}, make("div", { class: "pictures" }, thumbnail(image))),
          make("td", {}, make("a", { class: "id", href: `#/match/${place + 1}`, text: image.id })),
          make("td", { class: "answers" }, answers.map((one) => make("div", { text: opinion(one) })))))))
        : make("p", { class: "empty", text: "Nobody disagrees." }));
  }

  keys() {
    return [
      ["g", "back to the matching desk", () => this.page.navigate("#/match")],
      ["u", "undo the last decision since the start", () => this.page.undo(true)],
    ];
  }

  reload() {
    return this.open();
  }
}
