"use strict";
// The map: a dot for each image, and its picture where there is room for one.
(async () => {
  const { pack, picture, show } = kitbox;
  const canvas = document.getElementById("atlas");
  const points = await pack("map"), { images, labels } = await pack("queries");
  if (!canvas || !points) return;
  const told = document.querySelector(".map output"), pen = canvas.getContext("2d");
  const SIDE = 64, loaded = new Map();
  let zoom = 1, left = 0, top = 0, over = -1, drawn = [];

  const name = (point) => labels[images.label[points.image[point]]] ?? "";
  const colour = (token) => getComputedStyle(probe[token]).color;
  const probe = Object.fromEntries(["ink", "quiet", "accent", "second", "card"].map((token) => {
    const node = document.createElement("i");
    node.style.cssText = `color: var(--${token}); display: none`;
    canvas.after(node);
    return [token, node];
  }));

  function at(point) {
    const edge = SIDE / 2 + 6, width = canvas.clientWidth - 2 * edge, height = canvas.clientHeight - 2 * edge;
    return [edge + (points.x[point] / 1e3 * width) * zoom + left, edge + (points.y[point] / 1e3 * height) * zoom + top];
  }
  function paint() {
    const scale = devicePixelRatio || 1, { clientWidth: width, clientHeight: height } = canvas;
    if (canvas.width !== width * scale || canvas.height !== height * scale) {
      canvas.width = width * scale; canvas.height = height * scale;
    }
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    const who = over >= 0 ? name(over) : "", dots = [colour("quiet"), colour("accent")], lit = colour("second");
    const taken = new Map();
    drawn = [];
    for (let point = 0; point < points.image.length; point++) {
      const [x, y] = at(point);
      if (x < -SIDE || y < -SIDE || x > width + SIDE || y > height + SIDE) continue;
      const same = who && name(point) === who;
      pen.fillStyle = same ? lit : dots[points.query[point]];
      pen.beginPath();
      pen.arc(x, y, same ? 5 : 3, 0, 7);
      pen.fill();
      const picked = point === over || same || free(taken, x, y);
      drawn.push([point, x, y, picked ? same : null]);
    }
    for (const [point, x, y, same] of drawn) if (same !== null) put(point, x, y, same, lit);
  }
  // A picture stands where it covers no other; places are kept by cells of its size.
  function free(taken, x, y) {
    const across = Math.floor(x / SIDE), down = Math.floor(y / SIDE);
    for (let i = across - 1; i <= across + 1; i++) {
      for (let j = down - 1; j <= down + 1; j++) {
        for (const [px, py] of taken.get(i + ":" + j) ?? []) {
          if (Math.abs(px - x) < SIDE + 4 && Math.abs(py - y) < SIDE * 0.66) return false;
        }
      }
    }
    const cell = across + ":" + down;
    taken.set(cell, [...(taken.get(cell) ?? []), [x, y]]);
    return true;
  }
  function put(point, x, y, same, lit) {
    const found = loaded.get(point);
    if (found === undefined) {
      loaded.set(point, null);
      picture(points.image[point]).then((source) => {
        if (!source) return;
        const node = new Image();
        node.onload = () => { loaded.set(point, node); again(); };
        node.src = source;
      });
    } else if (found) {
      const shrink = SIDE / Math.max(found.width, found.height);
      const width = found.width * shrink, height = found.height * shrink;
      pen.drawImage(found, x - width / 2, y - height / 2, width, height);
      pen.strokeStyle = same ? lit : colour(points.query[point] ? "accent" : "card");
      pen.lineWidth = same ? 3 : points.query[point] ? 2 : 1;
      pen.strokeRect(x - width / 2, y - height / 2, width, height);
    }
  }
  let due = 0;
  const again = () => { due ||= requestAnimationFrame(() => { due = 0; paint(); }); };

  function nearest(event) {
    const box = canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    let best = -1, least = 40 * 40;
    for (const [point, px, py] of drawn) {
      const far = (px - x) ** 2 + (py - y) ** 2;
      if (far < least) { least = far; best = point; }
    }
    return best;
  }
  function tell(point) {
    if (point === over) return;
    over = point;
    told.textContent = point < 0 ? "" : `${name(point) || "nobody in particular"} · ${images.id[points.image[point]]} · ${points.query[point] ? "query" : "gallery"}`;
    again();
  }
  function closer(by, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
    const next = Math.min(Math.max(zoom * by, 1), 40), grown = next / zoom, edge = SIDE / 2 + 6;
    left = x - edge - (x - edge - left) * grown;
    top = y - edge - (y - edge - top) * grown;
    zoom = next;
    if (zoom === 1) left = top = 0;
    again();
  }
  let held = null, moved = 0;
  canvas.addEventListener("pointerdown", (event) => { held = [event.clientX, event.clientY]; moved = 0; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", (event) => {
    if (!held) return tell(nearest(event));
    const [x, y] = held;
    held = [event.clientX, event.clientY];
    moved += Math.abs(held[0] - x) + Math.abs(held[1] - y);
    left += held[0] - x; top += held[1] - y;
    again();
  });
  canvas.addEventListener("pointerup", (event) => {
    held = null;
    const point = nearest(event);
    if (moved < 5 && point >= 0) {
      tell(point);
      show([[points.image[point], told.textContent]], 0);
    }
  });
  canvas.addEventListener("pointerleave", () => tell(-1));
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && document.activeElement !== canvas) return;
    event.preventDefault();
    const box = canvas.getBoundingClientRect();
    closer(event.deltaY < 0 ? 1.25 : 0.8, event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }[event.key];
    if (step) { left += step[0]; top += step[1]; again(); }
    else if (event.key === "+") closer(1.4);
    else if (event.key === "-") closer(1 / 1.4);
    else return;
    event.preventDefault();
  });
  document.getElementById("in").addEventListener("click", () => closer(1.5));
  document.getElementById("out").addEventListener("click", () => closer(1 / 1.5));
  document.getElementById("whole").addEventListener("click", () => closer(0));
  document.addEventListener("theme", again);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  // nothing is drawn, and no picture loaded, before the map is in sight
  const seen = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    seen.disconnect();
    new ResizeObserver(again).observe(canvas);
    again();
  }, { rootMargin: "300px" });
  seen.observe(canvas);
})();
