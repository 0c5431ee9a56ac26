// A dialog to draw or correct a box, by pointer or by keys, in pixels of the upright original.

import { make } from "./elements.js";
import { ImageViewer } from "./viewer.js";

const REACH = 14; // pixels of the screen: nearer to an edge, the pointer drags that edge

// Resolves to [x0, y0, x1, y1], or to null if the dialog is cancelled.
export function drawBox(dialog, image) {
  return new Promise((resolve) => {
    const editor = new BoxEditor(image);
    const save = make("button", { type: "button", class: "main", text: "Save box (Enter)" });
    const cancel = make("button", { type: "button", text: "Cancel (Esc)" });
    dialog.className = "box-dialog";
    dialog.replaceChildren(
      make("h2", { text: `Box of ${image.id}` }),
      make("p", {
        class: "hint",
        text: "Drag to draw a box; drag the box to move it, an edge to correct it. "
          + "Arrow keys move it, with Shift they resize it, with Alt by one pixel.",
      }),
      editor.viewer.element,
      make("div", { class: "row" }, editor.numbers, make("span", { class: "spacer" }), cancel, save),
    );
    const end = (box) => {
      dialog.onkeydown = dialog.oncancel = null;
      dialog.close();
      resolve(box);
    };
    save.onclick = () => editor.box && end(editor.box);
    cancel.onclick = () => end(null);
    dialog.oncancel = (event) => { event.preventDefault(); end(null); };
    dialog.onkeydown = (event) => {
      event.stopPropagation();
      if (event.key === "Enter" && event.target.matches("button")) return; // the button handles it
      if (event.key === "Enter") {
        event.preventDefault();
        if (editor.box) end(editor.box);
      } else if (editor.key(event)) event.preventDefault();
    };
    dialog.showModal();
    editor.viewer.element.focus();
    editor.layOut();
  });
}

class BoxEditor {
  constructor(image) {
    this.width = image.width;
    this.height = image.height;
    this.box = image.box ? [...image.box] : null;
    this.viewer = new ImageViewer({ ...image, box: this.box }, { zoomable: false });
    this.numbers = make("output", { class: "numbers" });
    const { element } = this.viewer;
    element.tabIndex = 0;
    element.setAttribute("aria-label", "The picture and its box; arrow keys move the box");
    element.addEventListener("pointerdown", (event) => this.startDrag(event));
    element.addEventListener("pointermove", (event) => this.drag(event));
    for (const end of ["pointerup", "pointercancel"]) {
      element.addEventListener(end, () => this.endDrag());
    }
  }

  layOut() {
    this.viewer.box = this.box;
    this.viewer.layOut();
    this.numbers.textContent = this.box
      ? `x0 ${this.box[0]}  y0 ${this.box[1]}  x1 ${this.box[2]}  y1 ${this.box[3]}`
        + `  of ${this.width} × ${this.height}`
      : "no box yet";
  }

  // Starts to drag the edges near the pointer, the whole box from inside it, or a new box.
  startDrag(event) {
    event.preventDefault();
    this.viewer.element.focus();
    this.viewer.element.setPointerCapture(event.pointerId);
    const [x, y] = this.viewer.pixelAt(event);
    const reach = REACH / this.viewer.scale();
    const near = this.box ? edgesNear(this.box, x, y, reach) : null;
    this.before = this.box;
    this.dragged = near
      ? { edges: near, from: [x, y], box: [...this.box] }
      : { edges: [], from: [x, y], box: null };
  }

  drag(event) {
    if (!this.dragged) return;
    const [x, y] = this.viewer.pixelAt(event);
    const { edges, from, box } = this.dragged;
    if (!box) {
      this.set([Math.min(x, from[0]), Math.min(y, from[1]), Math.max(x, from[0]), Math.max(y, from[1])]);
      return;
    }
    const by = [x - from[0], y - from[1]];
    if (!edges.length) return this.move(box, by[0], by[1]);
    const now = [...box];
    for (const edge of edges) now[edge] = box[edge] + by[edge % 2];
    this.set([
      Math.min(now[0], now[2]), Math.min(now[1], now[3]),
      Math.max(now[0], now[2]), Math.max(now[1], now[3]),
    ]);
  }

  endDrag() {
    if (!this.dragged) return;
    // a click without a drag draws nothing
    if (this.box && (this.box[2] - this.box[0] < 3 || this.box[3] - this.box[1] < 3)) {
      this.box = this.before;
      this.layOut();
    }
    this.dragged = null;
  }

  key(event) {
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const direction = by[event.key];
    if (!direction) return false;
    if (!this.box) {
      this.set([this.width / 4, this.height / 4, (this.width * 3) / 4, (this.height * 3) / 4]);
      return true;
    }
    const step = event.altKey ? 1 : Math.max(1, Math.round(Math.max(this.width, this.height) / 150));
    const [dx, dy] = direction.map((part) => part * step);
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
    const limits = [this.width, this.height, this.width, this.height];
    this.box = box.map((corner, place) => Math.round(clamp(corner, 0, limits[place])));
    this.layOut();
  }
}

function clamp(value, min, max) {
  return Math.max(min, Math.min(max, value));
}

// The edges (0 left, 1 top, 2 right, 3 bottom) near a point; [] inside the box, null outside it.
function edgesNear(box, x, y, reach) {
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
