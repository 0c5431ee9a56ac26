// A picture that can be enlarged and moved, in pixels of the upright original.

import { picture } from "./wire.js";
import { make } from "./make.js";

const SIZES = [200, 480, 1200, 2800];
const MOST = 12; // times the size at which the whole picture fits

export class Stage {
  constructor(image, { still = false } = {}) {
    this.image = image;
    this.box = image.box;
    this.element = make("div", { class: "stage" });
    if (image.problem) {
      this.element.append(make("p", { class: "problem", text: image.problem }));
      return;
    }
    this.picture = make("img", { alt: `Photograph ${image.id}`, draggable: "false" });
    this.frame = make("div", { class: "frame" });
    this.element.append(this.picture, this.frame);
    this.size = 0;
    this.whole();
    this.watcher = new ResizeObserver(() => this.lay());
    this.watcher.observe(this.element);
    if (!still) this.listen();
  }

  whole() {
    if (this.image.problem) return;
    const { width, height } = this.image;
    this.seen = { x: 0, y: 0, width, height };
    this.lay();
  }

  // Shows the box with a margin, or the whole picture where there is none.
  near() {
    if (this.image.problem) return;
    if (!this.box) return this.whole();
    const [x0, y0, x1, y1] = this.box;
    const margin = 0.08 * Math.max(x1 - x0, y1 - y0);
    this.seen = {
      x: x0 - margin, y: y0 - margin,
      width: x1 - x0 + 2 * margin, height: y1 - y0 + 2 * margin,
    };
    this.lay();
  }

  zoom(factor, at = null) {
    if (this.image.problem) return;
    const { x, y, width, height } = this.seen;
    const [cx, cy] = at ?? [x + width / 2, y + height / 2];
    const fit = this.element.clientWidth / this.image.width;
    if (factor > 1 && this.scale() > MOST * Math.max(fit, 0.5)) return;
    if (factor < 1 && width / factor > this.image.width * 1.5) return this.whole();
    this.seen = {
      x: cx - (cx - x) / factor, y: cy - (cy - y) / factor,
      width: width / factor, height: height / factor,
    };
    this.lay();
  }

  scale() {
    const { clientWidth, clientHeight } = this.element;
    return Math.min(clientWidth / this.seen.width, clientHeight / this.seen.height) || 1;
  }

  // The corner of the stage where the picture's own corner comes to lie.
  corner() {
    const scale = this.scale();
    return [
      this.element.clientWidth / 2 - (this.seen.x + this.seen.width / 2) * scale,
      this.element.clientHeight / 2 - (this.seen.y + this.seen.height / 2) * scale,
    ];
  }

  // Pixels of the original under a pointer.
  under(event) {
    const { left, top } = this.element.getBoundingClientRect();
    const [x, y] = this.corner();
    const scale = this.scale();
    return [(event.clientX - left - x) / scale, (event.clientY - top - y) / scale];
  }

  lay() {
    if (this.image.problem || !this.element.clientWidth) return;
    const [x, y] = this.corner();
    const scale = this.scale();
    const { style } = this.picture;
    style.width = `${this.image.width * scale}px`;
    style.height = `${this.image.height * scale}px`;
    style.transform = `translate(${x}px, ${y}px)`;
    this.load(Math.max(this.image.width, this.image.height) * scale * devicePixelRatio);
    this.frame.hidden = !this.box;
    if (!this.box) return;
    const [x0, y0, x1, y1] = this.box.map((corner) => corner * scale);
    Object.assign(this.frame.style, {
      left: `${x + x0}px`, top: `${y + y0}px`, width: `${x1 - x0}px`, height: `${y1 - y0}px`,
    });
  }

  load(wanted) {
    const size = SIZES.find((one) => one >= wanted * 0.9) ?? SIZES.at(-1);
    if (size <= this.size) return;
    this.size = size;
    this.picture.src = picture(this.image.id, size);
  }

  // Resolves when the picture can be seen, or cannot be had.
  async ready() {
    this.lay();
    await this.picture?.decode().catch(() => {});
  }

  listen() {
    const stage = this.element;
    stage.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(event.deltaY < 0 ? 1.25 : 0.8, this.under(event));
    }, { passive: false });
    stage.addEventListener("dblclick", (event) => this.zoom(2.5, this.under(event)));
    let from = null;
    stage.addEventListener("pointerdown", (event) => {
      if (this.seen.width > this.image.width * 0.98) return; // the whole picture stays put
      from = { x: event.clientX, y: event.clientY, seen: this.seen };
      stage.setPointerCapture(event.pointerId);
    });
    stage.addEventListener("pointermove", (event) => {
      if (!from) return;
      const scale = this.scale();
      this.seen = {
        ...from.seen,
        x: from.seen.x - (event.clientX - from.x) / scale,
        y: from.seen.y - (event.clientY - from.y) / scale,
      };
      this.lay();
    });
    for (const end of ["pointerup", "pointercancel"]) {
      stage.addEventListener(end, () => { from = null; });
    }
  }
}

// Starts loading pictures that will be asked for next.
export function preload(images, size = 1200) {
  return images.filter((image) => !image.problem).map((image) => {
    const ahead = new Image();
    ahead.src = picture(image.id, size);
    return ahead;
  });
}
