// A picture to zoom and pan; coordinates are pixels of the upright original.

import { pictureUrl } from "./api.js";
import { make } from "./elements.js";

const SIZES = [200, 480, 1200, 2800]; // longest sides that the server offers
const MAX_ZOOM = 12; // times the size at which the whole picture fits

export class ImageViewer {
  constructor(image, { zoomable = true } = {}) {
    this.image = image;
    this.box = image.box;
    this.mirrored = false;
    this.inStep = false; // with another picture: shares of both boxes have to stay alike
    this.onmove = null; // after a zoom or a pan by the user
    this.onlayout = null;
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
    this.atBox = false;
    this.base = this.shown = { x: 0, y: 0, width, height };
    this.layOut();
  }

  // Shows the box with a margin, or the whole picture if it has none.
  showBox() {
    if (this.image.problem) return;
    if (!this.box) return this.showWhole();
    const [x0, y0, x1, y1] = this.box;
    const margin = 0.08 * Math.max(x1 - x0, y1 - y0);
    this.atBox = true;
    this.base = this.shown = {
      x: x0 - margin, y: y0 - margin,
      width: x1 - x0 + 2 * margin, height: y1 - y0 + 2 * margin,
    };
    this.layOut();
  }

  // What is shown, as shares of the whole picture or of the box: centre and magnification, as seen.
  relative() {
    const { base, shown } = this;
    const x = (shown.x + shown.width / 2 - base.x) / base.width;
    return {
      x: this.mirrored ? 1 - x : x, y: (shown.y + shown.height / 2 - base.y) / base.height,
      magnification: base.width / shown.width,
    };
  }

  showRelative({ x, y, magnification }) {
    const { base } = this;
    const width = base.width / magnification, height = base.height / magnification;
    const across = this.mirrored ? 1 - x : x;
    this.shown = { x: base.x + across * base.width - width / 2, y: base.y + y * base.height - height / 2, width, height };
    this.layOut();
  }

  // Moves what is shown by shares of its size, as seen.
  pan(across, down) {
    if (this.image.problem) return;
    const { x, y, width, height } = this.shown;
    this.shown = { x: x + (this.mirrored ? -across : across) * width, y: y + down * height, width, height };
    this.layOut();
    this.onmove?.();
  }

  zoom(factor, at = null) {
    if (this.image.problem) return;
    const { x, y, width, height } = this.shown;
    const [cx, cy] = at ?? [x + width / 2, y + height / 2];
    const fit = this.element.clientWidth / this.image.width;
    if (factor > 1 && this.scale() > MAX_ZOOM * Math.max(fit, 0.5)) return;
    if (factor < 1 && width / factor > this.image.width * 1.5) {
      if (!this.inStep) return this.showWhole();
      this.shown = this.base;
      this.layOut();
      return this.onmove?.();
    }
    this.shown = {
      x: cx - (cx - x) / factor, y: cy - (cy - y) / factor,
      width: width / factor, height: height / factor,
    };
    this.layOut();
    this.onmove?.();
  }

  scale() {
    const { clientWidth, clientHeight } = this.element;
    return Math.min(clientWidth / this.shown.width, clientHeight / this.shown.height) || 1;
  }

  // Where the picture's top left corner lies in the element, unless it is mirrored: then its right.
  corner() {
    const scale = this.scale();
    const middle = this.shown.x + this.shown.width / 2;
    return [
      this.element.clientWidth / 2 + (this.mirrored ? middle : -middle) * scale,
      this.element.clientHeight / 2 - (this.shown.y + this.shown.height / 2) * scale,
    ];
  }

  // The pixel of the original under the pointer.
  pixelAt(event) {
    const { left, top } = this.element.getBoundingClientRect();
    const [x, y] = this.corner();
    const scale = this.scale();
    const across = (event.clientX - left - x) / scale;
    return [this.mirrored ? -across : across, (event.clientY - top - y) / scale];
  }

  // Where a pixel of the original lies in the window; null outside of what is shown.
  positionOf(x, y) {
    const { left, top, right, bottom } = this.element.getBoundingClientRect();
    const [x0, y0] = this.corner();
    const scale = this.scale();
    const found = [left + x0 + (this.mirrored ? -x : x) * scale, top + y0 + y * scale];
    const inside = found[0] >= left && found[0] <= right && found[1] >= top && found[1] <= bottom;
    return inside ? found : null;
  }

  layOut() {
    if (this.image.problem || !this.element.clientWidth) return;
    const [x, y] = this.corner();
    const scale = this.scale();
    const { style } = this.picture;
    style.width = `${this.image.width * scale}px`;
    style.height = `${this.image.height * scale}px`;
    style.transform = `translate(${x}px, ${y}px) scaleX(${this.mirrored ? -1 : 1})`;
    this.load(Math.max(this.image.width, this.image.height) * scale * devicePixelRatio);
    this.frame.hidden = !this.box;
    if (this.box) {
      const [x0, y0, x1, y1] = this.box.map((corner) => corner * scale);
      Object.assign(this.frame.style, {
        left: `${this.mirrored ? x - x1 : x + x0}px`, top: `${y + y0}px`, width: `${x1 - x0}px`, height: `${y1 - y0}px`,
      });
    }
    this.onlayout?.();
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
        x: from.shown.x - ((event.clientX - from.x) / scale) * (this.mirrored ? -1 : 1),
        y: from.shown.y - (event.clientY - from.y) / scale,
      };
      this.layOut();
      this.onmove?.();
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
