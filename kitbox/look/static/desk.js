// The matching desk: a query beside its candidates, one key for each answer.

import { get, post } from "./api.js";
import { PictureBench } from "./picture_bench.js";
import { badges, formatSimilarity, labelChip, make } from "./elements.js";
import { pairAddress } from "./items.js";
import { thumbnail } from "./tiles.js";

const ORDERS = {
  identified: "the least certain answer first",
  threshold: "nearest to the threshold first",
  probability: "probability nearest to one half first",
  gap: "least gap between first and second first",
};
const MEANINGS = {
  same: "the same individual; the next open query comes",
  different: "different individuals; the next candidate comes",
  new: "a new individual: none of the candidates, nor of the others",
  unsure: "you cannot tell; you are not asked again",
  poor: "the picture is too poor; nobody is asked again",
};
export const SHORT = { same: "same", different: "different", new: "new", unsure: "cannot tell", poor: "poor picture" };
const KEYS = { s: "same", d: "different", n: "new", c: "unsure", p: "poor" };

// Keys that have no button.
const HINTS = [
  ["← →", "candidates"], ["↑ ↓", "queries"], ["o", "next open"], ["1–9", "photographs"],
  ["+ − 0", "zoom"], ["i j k l", "move"], ["z", "boxes"], ["Enter", "merge, relabel"], ["?", "all keys"],
];

// A new individual has no label; one of its photographs stands for it.
const nameOf = ({ label, isNew }) => (isNew ? `new, as ${label}` : label);

export const person = (name) => name || "somebody";

// "Anna: w_3" or "Anna: new, not w_1"
export function opinion({ by, answer, same, different }) {
  const words = answer === "same" || (answer === "" && same.length) ? same.join(", ") : SHORT[answer] ?? "";
  const not = different.length ? `not ${different.join(", ")}` : "";
  return `${person(by)}: ${[words, not].filter(Boolean).join(", ") || "nothing"}`;
}

export class DeskView {
  constructor(page, place = null) {
    this.page = page;
    this.requested = place; // null: the first open query
    this.place = null;
    this.current = 0; // candidate
    this.photograph = 0; // of the candidate
    this.decisionKeys = new Set(Object.keys(KEYS));
  }

  async open() {
    this.desk = await get("/api/desk");
    const { settled } = this.desk;
    if (!settled.length) {
      return this.page.show(this, make("p", { class: "empty", text: this.desk.empty }));
    }
    const place = Math.max(0, Math.min(settled.length - 1, this.requested ?? this.place ?? this.nextOpen(0)));
    this.requested = null;
    const query = await get("/api/desk/query", { place });
    const candidate = query.candidates.findIndex((one) => !this.isOut(one));
    if (place !== this.place || this.current >= query.candidates.length) {
      Object.assign(this, { current: Math.max(0, candidate), photograph: 0 });
      if (place !== this.place) this.leaveBench(); // zoom and flip are of one query
    }
    Object.assign(this, { place, query });
    this.render();
    return undefined;
  }

  leaveBench() {
    this.bench?.close();
    this.bench?.left.watcher?.disconnect();
    this.bench = null;
  }

  // The first open query from a place on, else from the start; the place itself if none is open.
  nextOpen(place) {
    const { settled } = this.desk;
    const after = settled.findIndex((done, one) => one >= place && !done);
    return after >= 0 ? after : Math.max(settled.findIndex((done) => !done), 0);
  }

  get address() {
    return this.place === null ? "#/match" : `#/match/${this.place + 1}`;
  }

  // Whether this person has called a candidate different.
  isOut(candidate) {
    return candidate.answers.some(({ by, kind }) => by === this.desk.person && kind === "different");
  }

  get candidate() {
    return this.query?.candidates[this.current];
  }

  get shown() {
    return this.candidate?.images[this.photograph] ?? null;
  }

  render() {
    const { query } = this;
    this.bench?.close();
    this.bench = new PictureBench(this.page, query.image, this.shown, this.bench);
    this.page.show(this,
      this.header(),
      make("div", { class: "bench" },
        make("article", { class: "card current", "aria-label": "Query" },
          this.bench.left.element,
          make("div", { class: "about" }, make("div", { class: "caption" },
            make("b", { text: "Query" }),
            query.image.label ? labelChip(query.image.label, this.page.overview.unknown) : null,
            query.newProbability === null ? null : make("span", { class: "probability new", title: "The probability of an individual that the catalogue does not have, by kitbox identify" }, "new individual ", make("b", { text: formatSimilarity(query.newProbability) })),
            make("span", { class: "spacer" }),
            make("a", { class: "id", href: `#/image/${encodeURIComponent(query.image.id)}`, title: "Show details of this image", text: query.image.id })),
          make("div", { class: "badges" }, this.queryBadges()))),
        this.candidateCard(),
        this.bench.lines),
      this.shelf(),
      make("p", { class: "hints" }, HINTS.map(([key, effect]) => make("span", {}, make("kbd", { text: key }), ` ${effect}`))),
      this.bar());
  }

  header() {
    const { desk, query } = this;
    const total = desk.settled.length;
    const others = desk.people.filter(({ name, decided }) => name !== desk.person && decided);
    const by = this.desk.person ? ` by ${this.desk.person}` : "";
    return make("div", { class: "head" },
      make("div", { class: "position" },
        make("button", { type: "button", class: "step", text: "↑", title: "Previous query (↑)", disabled: !this.place, onclick: () => this.page.run(() => this.go(this.place - 1)) }),
        make("span", { text: `query ${this.place + 1} of ${total}` }),
        make("button", { type: "button", class: "step", text: "↓", title: "Next query (↓)", disabled: this.place + 1 >= total, onclick: () => this.page.run(() => this.go(this.place + 1)) }),
        make("progress", { max: total, value: desk.decided, "aria-label": "decided" }),
        make("b", { class: "decided-count", text: `${desk.decided} of ${total} decided${by}` }),
        others.map(({ name, decided }) => make("span", { class: "soft", text: `${decided} by ${person(name)}` })),
        desk.reached ? make("span", { class: "soft", title: "Other photographs that are linked to them were decided", text: `${desk.reached} through others` }) : null,
        desk.poor ? make("span", { class: "soft", text: `${desk.poor} poor picture${desk.poor > 1 ? "s" : ""}` }) : null),
      make("div", { class: "reason" },
        make("span", { class: "soft", text: ORDERS[desk.order] + (desk.threshold === null ? "" : ` (${desk.threshold})`) }),
        query.probability === null ? null : make("span", { class: "soft", text: `the first is right with probability ${query.probability.toFixed(2)}` }),
        query.settled ? make("b", { class: "settled", text: "✓ decided" }) : null,
        query.disagree ? make("b", { class: "alarm", text: "people disagree" }) : null,
        desk.disagreements ? make("a", { class: "alarm disagreements", href: "#/disagreements", text: `${desk.disagreements} disagreement${desk.disagreements > 1 ? "s" : ""} (g)` }) : null,
        desk.unused ? make("span", { class: "alarm", text: desk.unused }) : null,
        desk.contradictions.length ? make("span", { class: "alarm", title: desk.contradictions.join("\n"), text: `decisions that contradict each other do not count: ${desk.contradictions[0]}` }) : null,
        desk.gone.length ? make("span", { class: "alarm", title: desk.gone.join("\n"), text: `decisions about ${desk.gone.length} photograph${desk.gone.length > 1 ? "s that are" : " that is"} gone stay in decisions.csv` }) : null));
  }

  // What is known of the query: its side and tags, notes of identify, and what was decided.
  queryBadges() {
    const { image, notes, answers, reached } = this.query;
    const through = reached && `${reached.has_label ? reached.name : `the same new individual as ${reached.name}`}, through other decisions`;
    return [
      badges({ ...image, side: "labelled" }), // that it is asked about is plain here
      notes.map((note) => make("span", { class: "badge", text: note })),
      through ? make("span", { class: "badge decided", text: through }) : null,
      answers.map((one) => make("span", { class: "badge decided", text: opinion(one) })),
    ];
  }

  candidateCard() {
    const { candidate, shown } = this;
    if (!candidate) {
      return make("article", { class: "card" }, make("p", { class: "empty", text: "No individual to compare with." }));
    }
    return make("article", { class: `card${this.isOut(candidate) ? " out" : ""}`, "aria-label": "Candidate" },
      this.bench.right.element,
      make("div", { class: "about" }, make("div", { class: "caption" },
        candidate.isNew ? make("span", { class: "chip none", text: "new individual" }) : labelChip(candidate.label, this.page.overview.unknown),
        candidate.probability === null ? null : make("span", { class: "probability", title: `The probability that the query shows ${candidate.label}, by kitbox identify` }, "probability ", make("b", { text: formatSimilarity(candidate.probability) })),
        make("span", { class: "soft", text: `${this.current + 1} of ${this.query.candidates.length}, similarity ${formatSimilarity(candidate.similarity)}` }),
        make("span", { class: "soft", text: `${candidate.photographCount} photograph${candidate.photographCount === 1 ? "" : "s"}` }),
        make("span", { class: "spacer" }),
        make("a", { class: "id", href: `#/image/${encodeURIComponent(shown.id)}`, title: "Show details of this image", text: shown.id })),
      make("div", { class: "badges" },
        candidate.answers.map(({ by, kind, time }) => make("span", { class: "badge decided", title: time || null, text: `${person(by)}: ${SHORT[kind]}` }))),
      candidate.images.length > 1 ? make("div", { class: "strip" }, candidate.images.map((image, place) => this.choice(image, place))) : null));
  }

  // A photograph of the candidate, chosen by its number.
  choice(image, place) {
    return make("button", { type: "button", class: place === this.photograph ? "photo chosen" : "photo", title: `${image.id} (${place + 1})`, onclick: () => this.page.run(() => this.showPhotograph(place)) },
      thumbnailPicture(image), make("kbd", { text: String(place + 1) }));
  }

  // All candidates, the best first.
  shelf() {
    return make("div", { class: "shelf", role: "list", "aria-label": "Candidates" }, this.query.candidates.map((candidate, place) => {
      const own = candidate.answers.find(({ by }) => by === this.desk.person);
      const button = make("button", {
        type: "button", role: "listitem", "aria-current": place === this.current ? "true" : false,
        class: `candidate${place === this.current ? " chosen" : ""}${this.isOut(candidate) ? " out" : ""}`,
        title: nameOf(candidate), onclick: () => this.page.run(() => this.choose(place)),
      },
        thumbnailPicture(candidate.images[0]),
        make("span", { class: "line" }, make("b", { text: nameOf(candidate) })), make("span", { class: "value", text: own ? SHORT[own.kind] : formatSimilarity(candidate.probability ?? candidate.similarity) }));
      if (place === this.current) queueMicrotask(() => button.scrollIntoView({ block: "nearest", inline: "nearest" }));
      return button;
    }));
  }

  bar() {
    const label = this.candidate ? nameOf(this.candidate) : "";
    return this.page.buttonBar([
      ["s", "Same", label ? `it is ${label}` : "no candidate"], ["d", "Different", label ? `not ${label}` : "no candidate"],
      ["n", "New", "none of them"], ["c", "Cannot tell", "not asked again"],
      ["p", "Poor", "skip it for all"], ["f", "Flip", "mirror the query"],
      ["m", "Points", "in both"], ["u", "Undo", "take back"],
    ], this);
  }

  // Why a key does nothing here; '' if it does something.
  refusal(key) {
    if (!this.query) return "";
    const reason = (this.candidate ?? this.query).refused[KEYS[key]];
    if (reason) return reason;
    if (key === "m" && (!this.shown || this.shown.problem || this.query.image.problem)) return "points need two pictures that can be read";
    return "";
  }

  keys() {
    if (!this.query) return [["u", "undo", () => this.page.undo()]];
    const zoom = (factor) => () => this.bench.zoom(factor);
    const pan = (x, y) => () => this.bench.pan(x, y);
    const groups = {
      Answer: [
        ...Object.entries(KEYS).map(([key, answer]) => [key, MEANINGS[answer], () => this.answer(answer)]),
        ["u", "take back the last answer", () => this.page.undo()],
      ],
      Go: [
        ["ArrowRight", "next candidate", () => this.choose(this.current + 1)],
        ["ArrowLeft", "previous candidate", () => this.choose(this.current - 1)],
        ["1–9", "photograph of the candidate by number", null],
        ["ArrowDown", "next query", () => this.go(this.place + 1)],
        ["ArrowUp", "previous query", () => this.go(this.place - 1)],
        ["o", "next open query", () => this.next()],
        ["g", "disagreements", () => this.page.navigate("#/disagreements")],
        ["e", "summary, and what comes next", () => this.page.navigate("#/match/end")],
        ["Enter", "both side by side, to merge or relabel", () => this.shown && this.page.navigate(pairAddress([this.query.image.id, this.shown.id]))],
      ],
      "Look closer": [
        ["+", "zoom in, both pictures", zoom(1.5)],
        ["-", "zoom out", zoom(1 / 1.5)],
        ["0", "whole pictures", () => this.bench.showWhole()],
        ["z", "zoom to the boxes, or out again", () => this.bench.toggleBoxes()],
        ["i", "look further up", pan(0, -0.2)],
        ["k", "look further down", pan(0, 0.2)],
        ["j", "look further left", pan(-0.2, 0)],
        ["l", "look further right", pan(0.2, 0)],
        ["f", "mirror the query", () => this.bench.flip()],
        ["m", "points that SIFT matches in both", () => this.bench.togglePoints()],
      ],
    };
    return Object.entries(groups)
      .flatMap(([group, keys]) => keys.map((key) => [...key, group]))
      .filter(([key]) => !this.refusal(key));
  }

  digit(number) {
    return this.page.run(() => this.showPhotograph(number - 1));
  }

  showPhotograph(place) {
    if (!this.candidate?.images[place]) return;
    this.photograph = place;
    this.render();
  }

  choose(place) {
    if (!this.query.candidates[place]) {
      this.page.showMessage(place < 0 ? "This is the best candidate." : "No more candidates: n says that it is new.");
      return;
    }
    Object.assign(this, { current: place, photograph: 0 });
    this.render();
  }

  // "different" moves on to the next candidate, any other answer to the next open query.
  async answer(answer) {
    const { candidate, query } = this;
    const reply = await post("/api/desk/answer", {
      query: query.image.id, answer, seen: query.seen, candidate: candidate?.images[0].id ?? "",
    });
    this.page.noteDecided(reply, this.address);
    const said = answer === "different" || answer === "same" ? `${SHORT[answer]}: ${nameOf(candidate)}` : SHORT[answer];
    const meanwhile = reply.meanwhile.map(({ kind, value, by, time }) => `${person(by)} decided meanwhile: ${SHORT[kind]}${value ? ` ${value}` : ""}${time ? ` (${time.slice(11, 16)} UTC)` : ""}`);
    const done = reply.written.length ? `${said} · u takes it back` : `Already decided: ${said}`;
    this.page.showMessage([...meanwhile, done].join(" · "), meanwhile.length > 0);
    if (answer === "different") {
      const next = query.candidates.findIndex((one, place) => place > this.current && !this.isOut(one));
      await this.open();
      if (this.page.pending !== this) return;
      if (next >= 0) this.choose(next);
      else if (!meanwhile.length) this.page.showMessage("Different; no more candidates: n says that it is new. · u takes it back");
    } else {
      await this.open();
      if (this.page.pending !== this) return;
      await this.next(meanwhile.length > 0);
    }
    this.page.holdKeys(this.bench.ready());
  }

  next(quiet = false) {
    const place = this.nextOpen(this.place + 1);
    if (!this.desk.settled[place]) return this.go(place);
    return quiet ? undefined : this.page.navigate("#/match/end");
  }

  go(place) {
    if (place < 0 || place >= this.desk.settled.length) return this.page.showMessage(place < 0 ? "This is the first query." : "This is the last query.");
    return this.page.navigate(`#/match/${place + 1}`);
  }

  reload() {
    return this.open();
  }
}

function thumbnailPicture(image) {
  const link = thumbnail(image); // its picture, without the link
  return make("span", { class: "thumb" }, ...link.childNodes);
}
