// The page: navigation between views, keys and messages.

import * as actions from "./actions.js";
import { get, post } from "./api.js";
import { DecisionsView } from "./decisions.js";
import { DeskView } from "./desk.js";
import { DeskSummaryView, DisagreementsView } from "./desk_summary.js";
import { make } from "./elements.js";
import { GridView } from "./grid.js";
import { showHelp } from "./help.js";
import { ItemsView } from "./items.js";
import { askForLabel } from "./label_dialog.js";
import { PhotographView } from "./photograph.js";
import { initTheme } from "./theme.js";

const DECISION_KEYS = new Set("mfdwltb");
const HOLD = 400; // ms; the second tap of a double tap comes sooner

const TITLES = { match: "Match", disagreements: "Disagreements", suspects: "Suspects", duplicates: "Duplicates", images: "Images", decisions: "Decisions" };

class Page {
  constructor() {
    this.main = document.querySelector("#view");
    this.dialog = document.querySelector("#dialog");
    this.message = document.querySelector("#message");
    this.sequence = []; // image ids of the last grid page, for next and previous
    this.view = null;
    this.pending = null; // the view that is being fetched, to be shown next
    this.tasks = 0; // running requests
    this.unseen = 0; // items that were opened automatically and cannot have been looked at yet
    this.origins = new Map(); // decision -> address where it was made, for undo
    this.queue = Promise.resolve();
  }

  // Keys are ignored while a task runs: they were meant for what was shown before.
  async busy(task) {
    this.tasks += 1;
    this.main.setAttribute("aria-busy", "true");
    try {
      return await task();
    } finally {
      this.tasks -= 1;
      this.main.setAttribute("aria-busy", String(this.tasks > 0));
    }
  }

  // After the page has moved on by itself: no key decides before the new pictures could be seen.
  async holdKeys(ready) {
    this.unseen += 1;
    this.main.dataset.unseen = "";
    await Promise.allSettled([ready, new Promise((resolve) => { setTimeout(resolve, HOLD); })]);
    this.unseen -= 1;
    if (!this.unseen) delete this.main.dataset.unseen;
  }

  get zoomToBox() {
    return localStorage.getItem("zoom to box") === "yes";
  }

  set zoomToBox(enabled) {
    localStorage.setItem("zoom to box", enabled ? "yes" : "no");
  }

  async start() {
    history.replaceState(null, "", `/${location.hash}`); // the key is in a cookie now
    initTheme();
    document.querySelector("#help").onclick = () => this.help();
    addEventListener("hashchange", () => this.open());
    addEventListener("keydown", (event) => this.key(event));
    await this.open();
  }

  async loadOverview() {
    this.update(await get("/api/overview"));
    if (!location.hash) history.replaceState(null, "", this.firstAddress());
    if (this.overview.faultyRows) {
      this.showMessage(`${this.overview.faultyRows} faulty rows of the lists are not shown; 'kitbox data check' names them`);
    }
  }

  firstAddress() {
    if (this.overview.deskFirst && this.overview.desk.open) return "#/match";
    if (this.overview.suspects.open) return "#/suspects";
    if (this.overview.duplicates.open) return "#/duplicates";
    return this.overview.desk.open ? "#/match" : "#/images";
  }

  navigate(address) {
    history.pushState(null, "", address);
    return this.open();
  }

  // The keys that do something here.
  help() {
    const keys = this.view?.keys() ?? [];
    showHelp(this.dialog, keys.filter(([key]) => key !== "u" || this.overview.canUndo));
  }

  // Views open one after the other: of two requested at once the last one stays.
  open() {
    const next = () => this.openAddress().catch((error) => this.showFailure(error));
    this.queue = this.queue.then(() => this.busy(next));
    return this.queue;
  }

  // The last view stays, under its own address; without one, only the error is shown.
  showFailure(error) {
    this.showMessage(error.message, true);
    this.pending = this.view;
    if (this.view) history.replaceState(null, "", this.main.dataset.shown);
    else this.main.replaceChildren(make("p", { class: "empty", text: error.message }));
  }

  async openAddress() {
    if (!this.overview) await this.loadOverview();
    const address = location.hash;
    const [path, query = ""] = address.slice(2).split("?");
    const parameters = new URLSearchParams(query);
    const [name, ...rest] = path.split("/");
    const argument = decodeURIComponent(rest.join("/"));
    const view = this.createView(name, argument, parameters);
    this.pending = view;
    await view.open();
    this.view = view;
    this.main.dataset.shown = address;
    for (const link of document.querySelectorAll("nav a")) {
      if (link.dataset.view === name) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    document.title = `${TITLES[name] ?? argument} · kitbox look`;
  }

  createView(name, argument, parameters) {
    switch (name) {
      case "suspects":
      case "duplicates": {
        const place = argument ? Number(argument) - 1 : null;
        if (this.view instanceof ItemsView && this.view.list === name && place !== null) {
          this.view.requested = place; // keeps the items fetched ahead
          return this.view;
        }
        return new ItemsView(this, name, place);
      }
      case "match": {
        const { desk } = this.overview;
        if (argument === "end" || (!argument && desk.all && !desk.open)) return new DeskSummaryView(this);
        const place = argument ? Number(argument) - 1 : null;
        if (!(this.view instanceof DeskView)) return new DeskView(this, place);
        this.view.requested = place;
        return this.view;
      }
      case "disagreements": return new DisagreementsView(this);
      case "pair": return new ItemsView(this, "pair", 0, parameters.getAll("id"));
      case "image": return new PhotographView(this, argument);
      case "decisions": return new DecisionsView(this);
      default: return new GridView(this, Object.fromEntries(parameters));
    }
  }

  // Shows a view, unless the user has gone on to another one.
  show(view, ...parts) {
    if (view !== this.pending) return;
    this.main.replaceChildren(...parts.filter((part) => part !== null && part !== undefined));
  }

  update(overview) {
    this.overview = overview;
    const counts = {
      match: overview.desk.open, suspects: overview.suspects.open, duplicates: overview.duplicates.open,
      images: overview.images, decisions: overview.decisions,
    };
    for (const link of document.querySelectorAll("nav a")) {
      if (link.dataset.view === "match") link.hidden = !overview.by.length;
      link.querySelector(".count").textContent = counts[link.dataset.view].toLocaleString("en");
    }
  }

  // Runs an action; if it fails, its error is shown.
  async attempt(action) {
    try {
      return await action();
    } catch (error) {
      this.showMessage(error.message, true);
      return undefined;
    }
  }

  showMessage(text, isError = false) {
    clearTimeout(this.timer);
    this.message.textContent = text;
    this.message.className = isError ? "shown error" : "shown";
    this.timer = setTimeout(() => { this.message.className = ""; }, isError ? 9000 : 4000);
  }

  async decide(rows) {
    if (!rows.length) throw new Error("there is nothing to decide here");
    const answer = await post("/api/decide", { decisions: rows });
    this.noteDecided(answer, this.address);
    if (!answer.written.length) return this.showMessage(`Already decided: ${actions.sentence(rows)}`);
    return this.showMessage(`${actions.sentence(answer.written)} · u takes it back`);
  }

  // Takes note of what the server wrote, and where it was decided.
  noteDecided(answer, address) {
    this.update(answer);
    for (const row of answer.written) this.origins.set(actions.key(row), address);
  }

  get address() {
    return this.view.address ?? this.main.dataset.shown;
  }

  // Takes the last decision back and opens the page where it was made.
  async undo(stay = false) {
    const answer = await post("/api/undo", {});
    this.update(answer);
    const [first] = answer.undone;
    this.showMessage(first ? `Taken back: ${actions.sentence(answer.undone)}` : "The last decision had already been removed.");
    const address = first && !stay ? this.origins.get(actions.key(first)) ?? actions.imageAddress(first) : null;
    if (!address || address === this.address) return this.view.reload();
    this.view.fetched?.clear(); // items fetched before the undo
    return this.navigate(address);
  }

  async askForLabel(images, near) {
    return askForLabel(this.dialog, images, near, await get("/api/labels"));
  }

  // Opens the image `by` places after one in the last grid page.
  neighbour(id, by) {
    const next = this.sequence[this.sequence.indexOf(id) + by];
    if (!this.sequence.includes(id) || next === undefined) return this.showMessage("No more images on this page of the grid.");
    return this.navigate(`#/image/${encodeURIComponent(next)}`);
  }

  // The buttons of a view; each does the same as its key.
  buttonBar(buttons, view) {
    const run = (key) => () => this.run(view.keys().find(([one]) => one === key)[2], key);
    const idle = (key) => Boolean(view.refusal(key)) || (key === "u" && !this.overview.canUndo);
    return make("div", { class: "bar", role: "toolbar", "aria-label": "Decisions" },
      buttons.map(([key, name, effect]) => make("button", { type: "button", "data-key": key, title: effect, disabled: idle(key), onclick: run(key) },
        make("kbd", { text: key }), make("span", {}, make("b", { text: name }), make("small", { text: effect })))));
  }

  // One action at a time: a key that is held down decides once.
  async run(action, key) {
    const early = this.unseen && this.decides(key);
    if (!this.tasks && !early) await this.busy(() => this.attempt(action));
  }

  // Whether a key decides in the view that is shown.
  decides(key) {
    return (this.view.decisionKeys ?? DECISION_KEYS).has(key);
  }

  key(event) {
    const typing = event.target.matches("input, select, textarea");
    if (typing && event.key === "Escape") event.target.blur();
    if (typing || this.dialog.open || event.ctrlKey || event.metaKey || event.altKey || !this.view) return;
    if (event.key === "?") return this.help();
    const pressed = event.key.length === 1 ? event.key.toLowerCase() : event.key; // caps lock
    const onControl = event.target.matches("a, button");
    if (onControl && (event.key === "Enter" || event.key === " ")) return; // the control handles it
    if (/^[1-9]$/.test(event.key) && this.view.digit) return this.view.digit(Number(event.key));
    const binding = this.view.keys().find(([key, , run]) => run && key === pressed);
    const refusal = this.view.refusal?.(pressed);
    if (refusal) return this.showMessage(refusal, true);
    if (!binding) return;
    event.preventDefault();
    const writes = this.decides(pressed) || pressed === "u";
    if (!(writes && event.repeat)) this.run(binding[2], pressed);
  }
}

await new Page().start();
