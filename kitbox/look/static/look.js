// The page: which view is shown, keys, messages.

import * as acts from "./acts.js";
import { Cases } from "./cases.js";
import { Decisions } from "./decisions.js";
import { Grid } from "./grid.js";
import { help } from "./help.js";
import { make } from "./make.js";
import { Photograph } from "./photograph.js";
import { dress } from "./shade.js";
import { get, post } from "./wire.js";

const DECIDING = new Set("mfdwltb");
const GLANCE = 400; // ms: the second tap of a double one comes sooner

const TITLES = { suspects: "Suspects", duplicates: "Duplicates", images: "Images", decisions: "Decisions" };

class Page {
  constructor() {
    this.place = document.querySelector("#view");
    this.dialog = document.querySelector("#asked");
    this.said = document.querySelector("#said");
    this.walk = []; // images of the grid seen last, for next and previous
    this.view = null;
    this.coming = null; // the view that is shown next, while it is fetched
    this.working = 0;
    this.unseen = 0; // cases that came by themselves and that nobody can have looked at yet
    this.trail = new Map(); // decision -> where it was taken, for undo
    this.queue = Promise.resolve();
  }

  // While something is decided or fetched no key counts: it would be meant for what was seen before.
  async busy(work) {
    this.working += 1;
    this.place.setAttribute("aria-busy", "true");
    try {
      return await work();
    } finally {
      this.working -= 1;
      this.place.setAttribute("aria-busy", String(this.working > 0));
    }
  }

  // After the page has gone on by itself: no key decides before the new pictures were seen.
  async glance(ready) {
    this.unseen += 1;
    this.place.dataset.unseen = "";
    await Promise.allSettled([ready, new Promise((seen) => { setTimeout(seen, GLANCE); })]);
    this.unseen -= 1;
    if (!this.unseen) delete this.place.dataset.unseen;
  }

  get nearBox() {
    return localStorage.getItem("near box") === "yes";
  }

  set nearBox(wanted) {
    localStorage.setItem("near box", wanted ? "yes" : "no");
  }

  async start() {
    history.replaceState(null, "", `/${location.hash}`); // the key is in a cookie now
    dress();
    document.querySelector("#help").onclick = () => help(this.dialog, this.view?.keys() ?? []);
    addEventListener("hashchange", () => this.open());
    addEventListener("keydown", (event) => this.key(event));
    await this.open();
  }

  async greet() {
    this.tell(await get("/api/overview"));
    if (!location.hash) history.replaceState(null, "", this.home());
    if (this.overview.leftOut) {
      this.say(`${this.overview.leftOut} rows of the lists are faulty and not shown; 'kitbox data check' names them`);
    }
  }

  home() {
    if (this.overview.suspects.open) return "#/suspects";
    return this.overview.duplicates.open ? "#/duplicates" : "#/images";
  }

  move(address) {
    history.pushState(null, "", address);
    return this.open();
  }

  // One view after the other: of two that are asked for at once the last one stays.
  open() {
    const next = () => this.opened().catch((error) => this.failed(error));
    this.queue = this.queue.then(() => this.busy(next));
    return this.queue;
  }

  // What was shown stays, under its own address; where nothing was, the sentence is all there is.
  failed(error) {
    this.say(error.message, true);
    this.coming = this.view;
    if (this.view) history.replaceState(null, "", this.place.dataset.shown);
    else this.place.replaceChildren(make("p", { class: "empty", text: error.message }));
  }

  async opened() {
    if (!this.overview) await this.greet();
    const address = location.hash;
    const [path, asked = ""] = address.slice(2).split("?");
    const values = new URLSearchParams(asked);
    const [name, ...rest] = path.split("/");
    const about = decodeURIComponent(rest.join("/"));
    const view = this.made(name, about, values);
    this.coming = view;
    await view.open();
    this.view = view;
    this.place.dataset.shown = address;
    for (const link of document.querySelectorAll("nav a")) {
      if (link.dataset.view === name) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    document.title = `${TITLES[name] ?? about} · kitbox look`;
  }

  made(name, about, values) {
    switch (name) {
      case "suspects":
      case "duplicates": {
        const place = about ? Number(about) - 1 : null;
        if (this.view instanceof Cases && this.view.what === name && place !== null) {
          this.view.wanted = place; // what was fetched ahead is used
          return this.view;
        }
        return new Cases(this, name, place);
      }
      case "pair": return new Cases(this, "pair", 0, values.getAll("id"));
      case "image": return new Photograph(this, about);
      case "decisions": return new Decisions(this);
      default: return new Grid(this, Object.fromEntries(values));
    }
  }

  // Shows a view, unless the person has gone on to another one.
  show(view, ...parts) {
    if (view !== this.coming) return;
    this.place.replaceChildren(...parts.filter((part) => part !== null && part !== undefined));
  }

  tell(overview) {
    this.overview = overview;
    const counts = {
      suspects: overview.suspects.open, duplicates: overview.duplicates.open,
      images: overview.images, decisions: overview.decisions,
    };
    for (const link of document.querySelectorAll("nav a")) {
      link.querySelector(".count").textContent = counts[link.dataset.view].toLocaleString("en");
    }
  }

  // Runs what may fail; the sentence of a failure is shown.
  async attempt(run) {
    try {
      return await run();
    } catch (error) {
      this.say(error.message, true);
      return undefined;
    }
  }

  say(text, wrong = false) {
    clearTimeout(this.silence);
    this.said.textContent = text;
    this.said.className = wrong ? "shown wrong" : "shown";
    this.silence = setTimeout(() => { this.said.className = ""; }, wrong ? 9000 : 4000);
  }

  async decide(rows) {
    if (!rows.length) throw new Error("there is nothing to decide here");
    const told = await post("/api/decide", { decisions: rows });
    this.tell(told);
    if (!told.written.length) return this.say(`Held already: ${acts.words(rows)}`);
    for (const row of told.written) this.trail.set(acts.key(row), this.address);
    return this.say(`${acts.words(told.written)} · u takes it back`);
  }

  get address() {
    return this.view.address ?? this.place.dataset.shown;
  }

  // Takes the last decision back and goes where it was taken, to be seen and decided anew.
  async undo(stay = false) {
    const told = await post("/api/undo", {});
    this.tell(told);
    const [first] = told.undone;
    this.say(first ? `Taken back: ${acts.words(told.undone)}` : "The last decision was gone already.");
    const address = first && !stay ? this.trail.get(acts.key(first)) ?? acts.about(first) : null;
    if (!address || address === this.address) return this.view.again();
    this.view.ahead?.clear(); // it may be of what was just undone
    return this.move(address);
  }

  async ask(images, near) {
    return acts.ask(this.dialog, images, near, await get("/api/labels"));
  }

  along(id, by) {
    const next = this.walk[this.walk.indexOf(id) + by];
    if (!this.walk.includes(id) || next === undefined) return this.say("No more images on this page of the list.");
    return this.move(`#/image/${encodeURIComponent(next)}`);
  }

  // The buttons of a view: each does what its key does.
  bar(buttons, view) {
    const run = (key) => () => this.run(view.keys().find(([one]) => one === key)[2], key);
    return make("div", { class: "bar", role: "toolbar", "aria-label": "Decisions" },
      buttons.map(([key, name, says]) => make("button", { type: "button", "data-key": key, title: says, onclick: run(key) },
        make("kbd", { text: key }), make("span", {}, make("b", { text: name }), make("small", { text: says })))));
  }

  // One decision at a time: a key that is held down decides once.
  async run(what, key) {
    const early = this.unseen && DECIDING.has(key);
    if (!this.working && !early) await this.busy(() => this.attempt(what));
  }

  key(event) {
    const typing = event.target.matches("input, select, textarea");
    if (typing && event.key === "Escape") event.target.blur();
    if (typing || this.dialog.open || event.ctrlKey || event.metaKey || event.altKey || !this.view) return;
    if (event.key === "?") return help(this.dialog, this.view.keys());
    const pressed = event.key.length === 1 ? event.key.toLowerCase() : event.key; // caps lock
    const onControl = event.target.matches("a, button");
    if (onControl && (event.key === "Enter" || event.key === " ")) return; // it does its own thing
    if (/^[1-9]$/.test(event.key) && this.view.digit) return this.view.digit(Number(event.key));
    const found = this.view.keys().find(([key, , run]) => run && key === pressed);
    if (!found) return;
    event.preventDefault();
    const writes = DECIDING.has(pressed) || pressed === "u";
    if (!(writes && event.repeat)) this.run(found[2], pressed);
  }
}

await new Page().start();
