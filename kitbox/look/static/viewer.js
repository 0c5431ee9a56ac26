// A picture to zoom and pan; coordinates are pixels of the upright original.

import { pictureUrl } from "./api.js";
import { make } from "./elements.js";

const SIZES = [200, 480, 1200, 2800]; // longest sides that the server offers
const MAX_ZOOM = 12; // times the size at which the whole picture fits

export class ImageViewer {
  constructor(image, { zoomable = true } = {}) {
    this.image = image;
    this.box = image.box;
    this.element = make("div", { class: "viewer" });
    if (image.problem) {
      this.element.append(make("p", { class: "problem", text: image.problem }));
      return;
    }
    this.picture = make("img", { alt: `Photograph ${image.id}`, draggable: "false" });
    this.frame = make("div", { class: "frame" });
    this.element.append(this.picture, this.frame);
    this.size = 0;
    this.showWhole();
    this.watcher = new ResizeObserver(() => this.layOut());
    this.watcher.observe(this.element);
    if (zoomable) this.addListeners();
  }

  showWhole() {
    if (this.image.problem) return;
    const { width, height } = this.image;
    this.shown = { x: 0, y: 0, width, height };
    this.layOut();
  }

  // Shows the box with a margin, or the whole picture if it has none.
  showBox() {
    if (this.image.problem) return;
    if (!this.box) return this.showWhole();
    const [x0, y0, x1, y1] = this.box;
    const margin = 0.08 * Math.max(x1 - x0, y1 - y0);
    this.shown = {
      x: x0 - margin, y: y0 - margin,
      width: x1 - x0 + 2 * margin, height: y1 - y0 + 2 * margin,
    };
    this.layOut();
  }

  zoom(factor, at = null) {
    if (this.image.problem) return;
    const { x, y, width, height } = this.shown;
    const [cx, cy] = at ?? [x + width / 2, y + height / 2];
    const fit = this.element.clientWidth / this.image.width;
    if (factor > 1 && this.scale() > MAX_ZOOM * Math.max(fit, 0.5)) return;
    if (factor < 1 && width / factor > this.image.width * 1.5) return this.showWhole();
    this.shown = {
      x: cx - (cx - x) / factor, y: cy - (cy - y) / factor,
      width: width / factor, height: height / factor,
    };
    this.layOut();
  }

  scale() {
    const { clientWidth, clientHeight } = this.element;
    return Math.min(clientWidth / this.shown.width, clientHeight / this.shown.height) || 1;
  }

  // Where the picture's top left corner lies in the element.
  corner() {
    const scale = this.scale();
    return [
      this.element.clientWidth / 2 - (this.shown.x + this.shown.width / 2) * scale,
      this.element.clientHeight / 2 - (this.shown.y + this.shown.height / 2) * scale,
    ];
  }

  // The pixel of the original under the pointer.
  pixelAt(event) {
    const { left, top } = this.element.getBoundingClientRect();
    const [x, y] = this.corner();
    const scale = this.scale();
    return [(event.clientX - left - x) / scale, (event.clientY - top - y) / scale];
  }

  layOut() {
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

  load(longest) {
    const size = SIZES.find((one) => one >= longest * 0.9) ?? SIZES.at(-1);
    if (size <= this.size) return;
    this.size = size;
    this.picture.src = pictureUrl(this.image.id, size);
  }

  // Resolves when the picture is visible or has failed to load.
  async ready() {
    this.layOut();
    await this.picture?.decode().catch(() => {});
  }

  addListeners() {
    const viewer = this.element;
    viewer.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(event.deltaY < 0 ? 1.25 : 0.8, this.pixelAt(event));
    }, { passive: false });
    viewer.addEventListener("dblclick", (event) => this.zoom(2.5, this.pixelAt(event)));
    let from = null;
    viewer.addEventListener("pointerdown", (event) => {
      if (this.shown.width > this.image.width * 0.98) return; // nothing to pan
      from = { x: event.clientX, y: event.clientY, shown: this.shown };
      viewer.setPointerCapture(event.pointerId);
    });
    viewer.addEventListener("pointermove", (event) => {
      if (!from) return;
      const scale = this.scale();
      this.shown = {
        ...from.shown,
        x: from.shown.x - (event.clientX - from.x) / scale,
        y: from.shown.y - (event.clientY - from.y) / scale,
      };
      this.layOut();
    });
    for (const end of ["pointerup", "pointercancel"]) {
      viewer.addEventListener(end, () => { from = null; });
    }
  }
}

// Starts loading pictures that will be shown next.
export function preload(images, size = 1200) {
  return images.filter((image) => !image.problem).map((image) => {
    const preloaded = new Image();
    preloaded.src = pictureUrl(image.id, size);
    return preloaded;
  });
}
