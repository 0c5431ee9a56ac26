"use strict";
// Shared by all pages: chunks of data, lazily loaded pictures, theme, keys, tables and dialogs.
const kitbox = (() => {
  const folder = document.body.dataset.folder, perChunk = Number(document.body.dataset.picturesPerChunk);
  const nonce = document.currentScript.nonce;
  const chunks = new Map(), receivers = new Map();

  // A chunk is a script block of this page, or a file beside it that calls kitbox.receive.
  function chunk(name) {
    if (!chunks.has(name)) chunks.set(name, load(name));
    return chunks.get(name);
  }
  function load(name) {
    const block = document.getElementById("chunk-" + name);
    if (block) return Promise.resolve(JSON.parse(block.textContent));
    if (!folder) return Promise.resolve(null);
    return new Promise((resolve) => {
      receivers.set(name, resolve);
      const script = document.createElement("script");
      script.nonce = nonce;
      script.src = folder.split("/").map(encodeURIComponent).join("/") + "/" + name + ".js";
      script.onerror = () => resolve(null);
      script.onload = () => script.remove();
      document.head.append(script);
    });
  }
  const receive = (name, value) => receivers.get(name)?.(value);

  async function picture(number) {
    const pictures = await chunk("pictures-" + Math.floor(number / perChunk));
    const text = pictures && pictures[number % perChunk];
    return text ? "data:image/webp;base64," + text : "";
  }
  async function fill(image) {
    const source = await picture(Number(image.dataset.picture));
    if (source) image.src = source;
    else image.replaceWith(make("span", { class: "missing" }, "no picture"));
  }
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      observer.unobserve(entry.target);
      fill(entry.target);
    }
  }, { rootMargin: "500px" });
  const watch = (root) => root.querySelectorAll("img[data-picture]").forEach((i) => observer.observe(i));

  // Text is set, never parsed, so that a name with markup stays text.
  function make(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
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

  // A list whose rows are drawn in parts, so that 30,000 are as fast as 30: as the user scrolls to
  // them where nothing follows the list, else by a button, since what follows would move away.
  const lists = [];
  function lazyList(root, draw, step, onDemand = false) {
    let rows = [], shown = 0;
    const end = onDemand
      ? make("button", { type: "button", class: "more", onclick: () => grow() }) : make("div", {});
    root.after(end);
    lists.push([root, () => grow()]);
    function grow() {
      const part = rows.slice(shown, shown + step);
      shown += part.length;
      root.append(...part.map(draw));
      watch(root);
      end.hidden = shown >= rows.length;
      if (onDemand) end.textContent = `Show ${Math.min(step, rows.length - shown)} more of ${rows.length - shown}`;
      return part.length > 0;
    }
    if (!onDemand) new IntersectionObserver((entries) => entries.some((e) => e.isIntersecting) && fillScreen(),
      { rootMargin: "900px" }).observe(end);
    function fillScreen() {
      while (grow() && end.getBoundingClientRect().top < innerHeight + 900);
    }
    return { set(newRows) { rows = newRows; shown = 0; root.replaceChildren(); grow(); }, grow };
  }

  // Dialogs
  const large = document.getElementById("large"), keys = document.getElementById("keys");
  let sequence = [], place = 0, query = null;
  // Shows one of some [number, text] figures large, beside that of the query if there is one.
  function showLarge(figures, at, queryFigure = null) {
    sequence = figures; place = at; query = queryFigure;
    turn(0);
    if (!large.open) large.showModal();
  }
  function turn(by) {
    place = (place + by + sequence.length) % sequence.length;
    const shown = query ? [query, sequence[place]] : [sequence[place]];
    large.querySelector(".two").replaceChildren(...shown.map(([number, text]) =>
      make("figure", {}, image(number, text), make("figcaption", {}, text))));
    for (const id of ["before", "after"]) {
      document.getElementById(id).hidden = sequence.length < 2;
    }
    large.querySelectorAll("img").forEach(fill);
  }
  document.getElementById("before").addEventListener("click", () => turn(-1));
  document.getElementById("after").addEventListener("click", () => turn(1));
  for (const button of document.querySelectorAll("dialog .close")) {
    button.addEventListener("click", () => button.closest("dialog").close());
  }
  document.getElementById("help").addEventListener("click", () => keys.showModal());

  // Theme
  const root = document.documentElement;
  const saved = (() => { try { return localStorage.getItem("kitbox-theme"); } catch { return null; } })();
  if (saved === "light" || saved === "dark") root.dataset.theme = saved;
  function toggleTheme() {
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("kitbox-theme", root.dataset.theme); } catch { /* then it is not saved */ }
    document.dispatchEvent(new Event("theme"));
  }
  document.getElementById("theme").addEventListener("click", toggleTheme);

  // Keys
  function step(by) {
    for (const [root, grow] of lists) {
      if (by > 0 && root.contains(document.activeElement) && root.lastElementChild.contains(document.activeElement)) grow();
    }
    const cards = [...document.querySelectorAll(".card:not([hidden])")];
    const current = document.activeElement?.closest?.(".card");
    const top = cards.findIndex((card) => card.getBoundingClientRect().bottom > 120);
    const next = current ? cards.indexOf(current) + by : top;
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
    else if (event.key === "t") toggleTheme();
    else if (event.key === "Enter" && onCard) (target.querySelector("[data-query] .picture") ?? target.querySelector(".picture"))?.click();
    else return;
    event.preventDefault();
  });

  // Tables with buttons in their heads are sorted by the data-value or the text of their cells.
  for (const button of document.querySelectorAll("th button")) {
    button.addEventListener("click", () => {
      const head = button.closest("th"), body = head.closest("table").tBodies[0];
      const column = head.cellIndex, ascending = head.getAttribute("aria-sort") === "descending";
      for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const numbers = [...body.rows].every((row) => value(row) === "" || !isNaN(value(row)));
      const order = (a, b) => numbers
        ? Number(value(a)) - Number(value(b)) : value(a).localeCompare(value(b));
      body.append(...[...body.rows].sort((a, b) => (ascending ? order(a, b) : order(b, a))));
    });
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-large]");
    if (!button) return;
    const part = button.closest("[data-sequence]"), asked = part?.dataset.query;
    const buttons = [...(part ?? document).querySelectorAll("[data-large]")];
    const figures = buttons.map((one) => [Number(one.dataset.large), one.dataset.text]);
    showLarge(figures, buttons.indexOf(button), asked ? [Number(asked), part.dataset.queryText] : null);
  });
  watch(document);
  // To the section of the address, which moved as the page was filled.
  function ready() {
    document.body.dataset.ready = "yes";
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target) target.scrollIntoView({ behavior: "instant" });
  }
  return { chunk, receive, picture, watch, make, image, lazyList, showLarge, ready };
})();
