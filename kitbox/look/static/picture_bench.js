// Two pictures in step: zoom and pan move both, and lines join the points that both share.

import { get } from "./api.js";
import { make } from "./elements.js";
import { ImageViewer } from "./viewer.js";

const SVG = "http://www.w3.org/2000/svg";

// The server matches one pair at a time: of pairs passed in the meantime none is asked for.
let earlier = Promise.resolve();

export class PictureBench {
  // `previous` is the bench before, whose zoom, mirroring and points stay.
  constructor(page, query, candidate, previous = null) {
    this.page = page;
    this.query = query;
    this.candidate = candidate;
    const same = previous?.query.id === query.id;
    this.left = same ? previous.left : new ImageViewer(query);
    this.right = candidate ? new ImageViewer(candidate) : null;
    this.lines = make("div", { class: "lines" });
    this.drawing = document.createElementNS(SVG, "svg");
    this.note = make("p", { class: "points-note", hidden: true });
    this.lines.append(this.drawing, this.note);
    for (const viewer of this.viewers) {
      viewer.inStep = true;
      viewer.onmove = () => this.follow(viewer);
      viewer.onlayout = () => this.draw();
    }
    if (same) {
      if (this.left.atBox) this.right?.showBox();
      this.follow(this.left);
    } else if (page.zoomToBox) for (const viewer of this.viewers) viewer.showBox();
    this.pointsShown = previous?.pointsShown ?? false;
    this.points = null;
    if (this.pointsShown) this.fetchPoints();
  }

  get viewers() {
    return [this.left, this.right].filter(Boolean);
  }

  // Stops watching; the left viewer may go on in the next bench.
  close() {
    for (const viewer of this.viewers) viewer.onmove = viewer.onlayout = null;
    this.right?.watcher?.disconnect();
    this.closed = true;
  }

  ready() {
    return Promise.all(this.viewers.map((viewer) => viewer.ready()));
  }

  follow(moved) {
    const other = moved === this.left ? this.right : this.left;
    if (other && !moved.image.problem && !other.image.problem) other.showRelative(moved.relative());
  }

  zoom(factor) {
    (this.left.image.problem ? this.right : this.left)?.zoom(factor);
  }

  pan(x, y) {
    (this.left.image.problem ? this.right : this.left)?.pan(x, y);
  }

  showWhole() {
    for (const viewer of this.viewers) viewer.showWhole();
  }

  toggleBoxes() {
    this.page.zoomToBox = !this.page.zoomToBox;
    for (const viewer of this.viewers) this.page.zoomToBox ? viewer.showBox() : viewer.showWhole();
  }

  flip() {
    this.left.mirrored = !this.left.mirrored;
    this.left.layOut();
    if (this.right) this.follow(this.right); // the mirrored picture shows the same place
  }

  async togglePoints() {
    this.pointsShown = !this.pointsShown;
    if (this.pointsShown) await this.fetchPoints();
    else this.draw();
  }

  async fetchPoints() {
    if (!this.candidate || this.points) return this.draw();
    this.note.hidden = false;
    this.note.textContent = "matching points …";
    const pair = { query: this.query.id, candidate: this.candidate.id };
    const request = earlier.then(() => (this.closed ? null : get("/api/desk/points", pair)));
    earlier = request.catch(() => {});
    try {
      this.points = await request;
    } catch (error) {
      this.points = { pairs: [], note: error.message };
    }
    return this.closed ? undefined : this.draw();
  }

  draw() {
    this.note.hidden = !(this.pointsShown && this.points);
    this.drawing.replaceChildren();
    if (!this.pointsShown || !this.points) return;
    this.note.textContent = this.points.note;
    const frame = this.lines.getBoundingClientRect();
    this.drawing.setAttribute("viewBox", `0 0 ${frame.width} ${frame.height}`);
    for (const [x0, y0, x1, y1, agrees] of this.points.pairs) {
      const from = this.left.positionOf(x0, y0), to = this.right.positionOf(x1, y1);
      if (!from || !to) continue; // outside of what is shown
      const line = document.createElementNS(SVG, "line");
      const ends = { x1: from[0] - frame.left, y1: from[1] - frame.top, x2: to[0] - frame.left, y2: to[1] - frame.top };
      for (const [name, value] of Object.entries(ends)) line.setAttribute(name, value.toFixed(1));
      line.setAttribute("class", agrees ? "agrees" : "other");
      this.drawing.append(line);
    }
  }
}
