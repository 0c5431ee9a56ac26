"use strict";
// What every page does: packs of data, lazily shown pictures, the theme, keys, tables, dialogs.
const kitbox = (() => {
  const folder = document.body.dataset.folder, perPack = Number(document.body.dataset.pack);
  const nonce = document.currentScript.nonce;
  const packs = new Map(), takers = new Map();

  // A pack is a script block of this page, or a file beside it that calls kitbox.take.
  function pack(name) {
    if (!packs.has(name)) packs.set(name, loaded(name));
    return packs.get(name);
  }
  function loaded(name) {
    const here = document.getElementById("pack-" + name);
    if (here) return Promise.resolve(JSON.parse(here.textContent));
    if (!folder) return Promise.resolve(null);
    return new Promise((taken) => {
      takers.set(name, taken);
      const script = document.createElement("script");
      script.nonce = nonce;
      script.src = folder.split("/").map(encodeURIComponent).join("/") + "/" + name + ".js";
      script.onerror = () => taken(null);
      script.onload = () => script.remove();
      document.head.append(script);
    });
  }
  const take = (name, value) => takers.get(name)?.(value);

  async function picture(number) {
    const found = await pack("pictures-" + Math.floor(number / perPack));
    const text = found && found[number % perPack];
    return text ? "data:image/webp;base64," + text : "";
  }
  async function fill(image) {
    const source = await picture(Number(image.dataset.picture));
    if (source) image.src = source;
    else image.replaceWith(make("span", { class: "missing" }, "no picture"));
  }
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      seen.unobserve(entry.target);
      fill(entry.target);
    }
  }, { rootMargin: "500px" });
  const watch = (root) => root.querySelectorAll("img[data-picture]").forEach((i) => seen.observe(i));

  // Text is set, never parsed, so that a name is a name whatever stands in it.
  function make(tag, given = {}, ...children) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(given)) {
      if (value === null || value === false) continue;
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else node.setAttribute(key, value === true ? "" : value);
    }
    node.append(...children.filter((child) => child !== null));
    return node;
  }
  function image(number, alt) {
    return make("img", { "data-picture": number, alt, decoding: "async" });
  }

  // Rows are drawn as one scrolls to them, so that 30,000 are as quick as 30.
  function list(root, draw, step) {
    let rows = [], shown = 0;
    const more = make("div", { class: "more" });
    root.after(more);
    function grow() {
      const part = rows.slice(shown, shown + step);
      shown += part.length;
      root.append(...part.map(draw));
      watch(root);
      more.hidden = shown >= rows.length;
      return part.length > 0;
    }
    new IntersectionObserver((entries) => entries.some((e) => e.isIntersecting) && near(),
      { rootMargin: "900px" }).observe(more);
    function near() {
      while (grow() && more.getBoundingClientRect().top < innerHeight + 900);
    }
    return { set(found) { rows = found; shown = 0; root.replaceChildren(); grow(); }, grow };
  }

  // Dialogs
  const large = document.getElementById("large"), keys = document.getElementById("keys");
  let walk = [], place = 0, beside = null;
  function show(figures, at, asked = null) {
    walk = figures; place = at; beside = asked;
    turn(0);
    if (!large.open) large.showModal();
  }
  function turn(by) {
    place = (place + by + walk.length) % walk.length;
    const both = beside ? [beside, walk[place]] : [walk[place]];
    large.querySelector(".two").replaceChildren(...both.map(([number, text]) =>
      make("figure", {}, image(number, text), make("figcaption", {}, text))));
    for (const id of ["before", "after"]) {
      document.getElementById(id).hidden = walk.length < 2;
    }
    large.querySelectorAll("img").forEach(fill);
  }
  document.getElementById("before").addEventListener("click", () => turn(-1));
  document.getElementById("after").addEventListener("click", () => turn(1));
  for (const button of document.querySelectorAll("dialog .close")) {
    button.addEventListener("click", () => button.closest("dialog").close());
  }
  document.getElementById("help").addEventListener("click", () => keys.showModal());

  // Light and dark
  const root = document.documentElement;
  const remembered = (() => { try { return localStorage.getItem("kitbox-theme"); } catch { return null; } })();
  if (remembered === "light" || remembered === "dark") root.dataset.theme = remembered;
  function turnTheme() {
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("kitbox-theme", root.dataset.theme); } catch { /* not kept then */ }
    document.dispatchEvent(new Event("theme"));
  }
  document.getElementById("theme").addEventListener("click", turnTheme);

  // Keys
  function step(by) {
    const cards = [...document.querySelectorAll(".card:not([hidden])")];
    const here = document.activeElement?.closest?.(".card");
    const top = cards.findIndex((card) => card.getBoundingClientRect().bottom > 120);
    const next = here ? cards.indexOf(here) + by : top;
    const card = cards[Math.max(0, Math.min(next, cards.length - 1))];
    if (!card) return;
    card.focus({ preventScroll: true });
    card.scrollIntoView({ block: "start", behavior: "instant" });
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.target, search = document.getElementById("text");
    if (large.open) {
      if (event.key === "ArrowLeft") turn(-1);
      if (event.key === "ArrowRight") turn(1);
      return;
    }
    if (keys.open) return;
    if (target.matches("input, select, textarea")) {
      if (event.key === "Escape") target.blur();
      return;
    }
    const onCard = target.matches(".card");
    if (event.key === "j" || (onCard && event.key === "ArrowDown")) step(1);
    else if (event.key === "k" || (onCard && event.key === "ArrowUp")) step(-1);
    else if (event.key === "/" && search) search.focus();
    else if (event.key === "?") keys.showModal();
    else if (event.key === "t") turnTheme();
    else if (event.key === "Enter" && onCard) target.querySelector(".shot")?.click();
    else return;
    event.preventDefault();
  });

  // Tables whose heads are buttons sort by their cells' data-value, or by their text.
  for (const button of document.querySelectorAll("th button")) {
    button.addEventListener("click", () => {
      const head = button.closest("th"), body = head.closest("table").tBodies[0];
      const column = head.cellIndex, up = head.getAttribute("aria-sort") === "descending";
      for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const numbers = [...body.rows].every((row) => value(row) === "" || !isNaN(value(row)));
      const order = (a, b) => numbers
        ? Number(value(a)) - Number(value(b)) : value(a).localeCompare(value(b));
      body.append(...[...body.rows].sort((a, b) => (up ? order(a, b) : order(b, a))));
    });
  }
  document.addEventListener("click", (event) => {
    const shot = event.target.closest?.("[data-large]");
    if (!shot) return;
    const within = [...(shot.closest("[data-walk]") ?? document).querySelectorAll("[data-large]")];
    const figures = within.map((s) => [Number(s.dataset.large), s.dataset.text]);
    show(figures, within.indexOf(shot));
  });
  watch(document);
  return { pack, take, picture, fill, watch, make, image, list, show };
})();
