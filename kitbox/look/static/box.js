// Draws or corrects a box: by mouse or finger, or by keys; in pixels of the upright original.

import { Stage } from "./stage.js";
import { make } from "./make.js";

const REACH = 14; // pixels of the screen around an edge that take hold of it

// Resolves to [x0, y0, x1, y1], or to null where the person leaves without one.
export function draw(dialog, image) {
  return new Promise((done) => {
    const editor = new Editor(image);
    const save = make("button", { type: "button", class: "main", text: "Save box (Enter)" });
    const leave = make("button", { type: "button", text: "Leave (Esc)" });
    dialog.className = "drawing";
    dialog.replaceChildren(
      make("h2", { text: `Box of ${image.id}` }),
      make("p", {
        class: "hint",
        text: "Drag to draw, drag the box to move it, its edges to correct it. "
          + "Arrows move, Shift + arrows size, with Alt by one pixel.",
      }),
      editor.stage.element,
      make("div", { class: "row" }, editor.told, make("span", { class: "gap" }), leave, save),
    );
    const end = (box) => {
      dialog.onkeydown = dialog.oncancel = null;
      dialog.close();
      done(box);
    };
    save.onclick = () => editor.box && end(editor.box);
    leave.onclick = () => end(null);
    dialog.oncancel = (event) => { event.preventDefault(); end(null); };
    dialog.onkeydown = (event) => {
      event.stopPropagation();
      if (event.key === "Enter" && event.target.matches("button")) return; // it does its own thing
      if (event.key === "Enter") {
        event.preventDefault();
        if (editor.box) end(editor.box);
      } else if (editor.key(event)) event.preventDefault();
    };
    dialog.showModal();
    editor.stage.element.focus();
    editor.lay();
  });
}

class Editor {
  constructor(image) {
    this.width = image.width;
    this.height = image.height;
    this.box = image.box ? [...image.box] : null;
    this.stage = new Stage({ ...image, box: this.box }, { still: true });
    this.told = make("output", { class: "numbers" });
    const { element } = this.stage;
    element.tabIndex = 0;
    element.setAttribute("aria-label", "The picture and its box; arrows move the box");
    element.addEventListener("pointerdown", (event) => this.take(event));
    element.addEventListener("pointermove", (event) => this.pull(event));
    for (const end of ["pointerup", "pointercancel"]) {
      element.addEventListener(end, () => this.letGo());
    }
  }

  lay() {
    this.stage.box = this.box;
    this.stage.lay();
    this.told.textContent = this.box
      ? `x0 ${this.box[0]}  y0 ${this.box[1]}  x1 ${this.box[2]}  y1 ${this.box[3]}`
        + `  of ${this.width} × ${this.height}`
      : "no box yet";
  }

  // Takes hold of the edges near the pointer, of the whole box from inside, or begins a new one.
  take(event) {
    event.preventDefault();
    this.stage.element.focus();
    this.stage.element.setPointerCapture(event.pointerId);
    const [x, y] = this.stage.under(event);
    const reach = REACH / this.stage.scale();
    const held = this.box ? edges(this.box, x, y, reach) : null;
    this.before = this.box;
    this.held = held
      ? { edges: held, from: [x, y], box: [...this.box] }
      : { edges: [], from: [x, y], box: null };
  }

  pull(event) {
    if (!this.held) return;
    const [x, y] = this.stage.under(event);
    const { edges: held, from, box } = this.held;
    if (!box) {
      this.set([Math.min(x, from[0]), Math.min(y, from[1]), Math.max(x, from[0]), Math.max(y, from[1])]);
      return;
    }
    const by = [x - from[0], y - from[1]];
    if (!held.length) return this.move(box, by[0], by[1]);
    const now = [...box];
    for (const edge of held) now[edge] = box[edge] + by[edge % 2];
    this.set([
      Math.min(now[0], now[2]), Math.min(now[1], now[3]),
      Math.max(now[0], now[2]), Math.max(now[1], now[3]),
    ]);
  }

  letGo() {
    if (!this.held) return;
    // a click without a drag draws nothing
    if (this.box && (this.box[2] - this.box[0] < 3 || this.box[3] - this.box[1] < 3)) {
      this.box = this.before;
      this.lay();
    }
    this.held = null;
  }

  key(event) {
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const way = by[event.key];
    if (!way) return false;
    if (!this.box) {
      this.set([this.width / 4, this.height / 4, (this.width * 3) / 4, (this.height * 3) / 4]);
      return true;
    }
    const step = event.altKey ? 1 : Math.max(1, Math.round(Math.max(this.width, this.height) / 150));
    const [dx, dy] = way.map((part) => part * step);
    const [x0, y0, x1, y1] = this.box;
    if (event.shiftKey) {
      this.set([x0, y0, Math.max(x0 + 3, x1 + dx), Math.max(y0 + 3, y1 + dy)]);
    } else this.move(this.box, dx, dy);
    return true;
  }

  move([x0, y0, x1, y1], dx, dy) {
    const right = clamp(dx, -x0, this.width - x1);
    const down = clamp(dy, -y0, this.height - y1);
    this.set([x0 + right, y0 + down, x1 + right, y1 + down]);
  }

  set(box) {
    const most = [this.width, this.height, this.width, this.height];
    this.box = box.map((corner, place) => Math.round(clamp(corner, 0, most[place])));
    this.lay();
  }
}

function clamp(value, least, most) {
  return Math.max(least, Math.min(most, value));
}

// The edges (0 left, 1 top, 2 right, 3 bottom) near a point; [] inside the box, null outside.
function edges(box, x, y, reach) {
  const [x0, y0, x1, y1] = box;
  const outside = x < x0 - reach || x > x1 + reach || y < y0 - reach || y > y1 + reach;
  if (outside) return null;
  const near = [];
  if (Math.abs(x - x0) <= reach) near.push(0);
  else if (Math.abs(x - x1) <= reach) near.push(2);
  if (Math.abs(y - y0) <= reach) near.push(1);
  else if (Math.abs(y - y1) <= reach) near.push(3);
  return near;
}
