"use strict";
// The map of embeddings: a dot for each image, and its picture where there is room.
(async () => {
  const { chunk, picture, showLarge } = kitbox;
  const canvas = document.getElementById("map-canvas");
  const points = await chunk("map"), { images, labels } = await chunk("queries");
  if (!canvas || !points) return;
  const caption = document.querySelector(".map output"), context = canvas.getContext("2d");
  const SIDE = 64, loaded = new Map();
  let zoom = 1, left = 0, top = 0, hovered = -1, drawn = [];

  const labelOf = (point) => labels[images.label[points.image[point]]] ?? "";
  const colour = (token) => getComputedStyle(probe[token]).color;
  const probe = Object.fromEntries(["ink", "quiet", "accent", "second", "card"].map((token) => {
    const node = document.createElement("i");
    node.style.cssText = `color: var(--${token}); display: none`;
    canvas.after(node);
    return [token, node];
  }));

  function position(point) {
    const edge = SIDE / 2 + 6, width = canvas.clientWidth - 2 * edge, height = canvas.clientHeight - 2 * edge;
    return [edge + (points.x[point] / 1e3 * width) * zoom + left, edge + (points.y[point] / 1e3 * height) * zoom + top];
  }
  function paint() {
    const scale = devicePixelRatio || 1, { clientWidth: width, clientHeight: height } = canvas;
    if (canvas.width !== width * scale || canvas.height !== height * scale) {
      canvas.width = width * scale; canvas.height = height * scale;
    }
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    const chosen = hovered >= 0 ? labelOf(hovered) : "", dots = [colour("quiet"), colour("accent")], highlight = colour("second");
    const occupied = new Map();
    drawn = [];
    for (let point = 0; point < points.image.length; point++) {
      const [x, y] = position(point);
      if (x < -SIDE || y < -SIDE || x > width + SIDE || y > height + SIDE) continue;
      const same = chosen && labelOf(point) === chosen;
      context.fillStyle = same ? highlight : dots[points.query[point]];
      context.beginPath();
      context.arc(x, y, same ? 5 : 3, 0, 7);
      context.fill();
      const pictured = point === hovered || same || isFree(occupied, x, y);
      drawn.push([point, x, y, pictured ? same : null]);
    }
    for (const [point, x, y, same] of drawn) if (same !== null) drawPicture(point, x, y, same, highlight);
  }
  // A picture is drawn where it covers no other; positions are stored by cells of its size.
  function isFree(occupied, x, y) {
    const across = Math.floor(x / SIDE), down = Math.floor(y / SIDE);
    for (let i = across - 1; i <= across + 1; i++) {
      for (let j = down - 1; j <= down + 1; j++) {
        for (const [px, py] of occupied.get(i + ":" + j) ?? []) {
          if (Math.abs(px - x) < SIDE + 4 && Math.abs(py - y) < SIDE * 0.66) return false;
        }
      }
    }
    const cell = across + ":" + down;
    occupied.set(cell, [...(occupied.get(cell) ?? []), [x, y]]);
    return true;
  }
  function drawPicture(point, x, y, same, highlight) {
    const image = loaded.get(point);
    if (image === undefined) {
      loaded.set(point, null);
      picture(points.image[point]).then((source) => {
        if (!source) return;
        const node = new Image();
        node.onload = () => { loaded.set(point, node); repaint(); };
        node.src = source;
      });
    } else if (image) {
      const shrink = SIDE / Math.max(image.width, image.height);
      const width = image.width * shrink, height = image.height * shrink;
      context.drawImage(image, x - width / 2, y - height / 2, width, height);
      context.strokeStyle = same ? highlight : colour(points.query[point] ? "accent" : "card");
      context.lineWidth = same ? 3 : points.query[point] ? 2 : 1;
      context.strokeRect(x - width / 2, y - height / 2, width, height);
    }
  }
  let frame = 0;
  const repaint = () => { frame ||= requestAnimationFrame(() => { frame = 0; paint(); }); };

  function nearest(event) {
    const box = canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    let best = -1, least = 40 * 40;
    for (const [point, px, py] of drawn) {
      const distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance < least) { least = distance; best = point; }
    }
    return best;
  }
  function hover(point) {
    if (point === hovered) return;
    hovered = point;
    caption.textContent = point < 0 ? "" : `${labelOf(point) || "unknown individual"} · ${images.id[points.image[point]]} · ${points.query[point] ? "query" : "gallery"}`;
    repaint();
  }
  function zoomBy(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
    const next = Math.min(Math.max(zoom * factor, 1), 40), grown = next / zoom, edge = SIDE / 2 + 6;
    left = x - edge - (x - edge - left) * grown;
    top = y - edge - (y - edge - top) * grown;
    zoom = next;
    if (zoom === 1) left = top = 0;
    repaint();
  }
  let held = null, moved = 0;
  canvas.addEventListener("pointerdown", (event) => { held = [event.clientX, event.clientY]; moved = 0; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", (event) => {
    if (!held) return hover(nearest(event));
    const [x, y] = held;
    held = [event.clientX, event.clientY];
    moved += Math.abs(held[0] - x) + Math.abs(held[1] - y);
    left += held[0] - x; top += held[1] - y;
    repaint();
  });
  canvas.addEventListener("pointerup", (event) => {
    held = null;
    const point = nearest(event);
    if (moved < 5 && point >= 0) {
      hover(point);
      showLarge([[points.image[point], caption.textContent]], 0);
    }
  });
  canvas.addEventListener("pointerleave", () => hover(-1));
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && document.activeElement !== canvas) return;
    event.preventDefault();
    const box = canvas.getBoundingClientRect();
    zoomBy(event.deltaY < 0 ? 1.25 : 0.8, event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }[event.key];
    if (step) { left += step[0]; top += step[1]; repaint(); }
    else if (event.key === "+") zoomBy(1.4);
    else if (event.key === "-") zoomBy(1 / 1.4);
    else return;
    event.preventDefault();
  });
  document.getElementById("zoom-in").addEventListener("click", () => zoomBy(1.5));
  document.getElementById("zoom-out").addEventListener("click", () => zoomBy(1 / 1.5));
  document.getElementById("zoom-all").addEventListener("click", () => zoomBy(0));
  document.addEventListener("theme", repaint);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  // the map is drawn, and its pictures loaded, when it comes into view
  const observer = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    new ResizeObserver(repaint).observe(canvas);
    repaint();
  }, { rootMargin: "300px" });
  observer.observe(canvas);
})();
