"use strict";
// Contact sheets of each individual, of the test images and of the gallery.
(async () => {
  const { chunk, make, image, lazyList, showLarge, watch } = kitbox;
  const sheets = await chunk("sheets");
  const field = (id) => document.getElementById(id), FIRST = 24, MORE = 120;
  sheets.sides.forEach((side, number) => field("side").append(make("option", { value: number }, side)));
  const rows = sheets.id.map((_, row) => row);
  const label = (row) => sheets.labels[sheets.label[row]] ?? "";
  const words = rows.map((row) => (sheets.id[row] + "\n" + label(row)).toLowerCase());
  const filters = {
    "": () => true,
    boxed: (row) => sheets.box[row] !== null,
    whole: (row) => sheets.box[row] === null,
    query: (row) => sheets.query[row] === 1,
    duplicate: (row) => sheets.duplicate[row] >= 0,
  };

  function boxOutline(row) {
    const [width, height] = sheets.size[row], box = sheets.box[row];
    if (!box || !width) return null;
    const space = "http://www.w3.org/2000/svg", svg = document.createElementNS(space, "svg");
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("aria-hidden", "true");
    for (let edge = 0; edge < 2; edge++) {
      const rect = document.createElementNS(space, "rect");
      ["x", "y", "width", "height"].forEach((side, n) =>
        rect.setAttribute(side, (box[n] / 1000) * (n % 2 ? height : width)));
      svg.append(rect);
    }
    return svg;
  }
  function description(row) {
    const [width, height] = sheets.size[row];
    return [sheets.id[row], label(row) || sheets.sides[sheets.side[row]], `${width} × ${height}`]
      .concat(sheets.box[row] ? ["with a box"] : []).join(", ");
  }
  function sheet(group) {
    const figures = group.rows.map((row) => [row, description(row)]);
    const items = make("ul", { class: "sheet" });
    const more = make("button", { type: "button", onclick: () => grow(MORE) });
    function grow(count) {
      const from = items.children.length;
      items.append(...group.rows.slice(from, from + count).map((row, place) => make("li", {},
        make("button", { type: "button", class: "picture", onclick: () => showLarge(figures, from + place) },
          make("span", { class: "frame" }, image(row, figures[from + place][1]), boxOutline(row))),
        make("small", {}, sheets.query[row] ? make("span", { class: "tag" }, "query") : null,
          sheets.duplicate[row] >= 0 ? make("span", { class: "tag" }, `duplicate ${sheets.duplicate[row]}`) : null,
          sheets.id[row]))));
      const left = group.rows.length - items.children.length;
      more.textContent = `${Math.min(left, MORE)} more of ${left}`;
      more.hidden = left <= 0;
      watch(items);
    }
    grow(FIRST);
    const count = group.rows.length === 1 ? "1 photograph" : `${group.rows.length} photographs`;
    return make("article", { class: "card group", tabindex: "-1", "aria-label": `${group.name}, ${count}` },
      make("h3", {}, group.name + " ", make("small", {}, count)), items, more);
  }

  const form = document.querySelector(".find"), count = document.querySelector(".count");
  const cards = lazyList(field("cards"), sheet, 10);
  const orders = {
    most: (a, b) => b.rows.length - a.rows.length,
    fewest: (a, b) => a.rows.length - b.rows.length,
    name: (a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }),
  };
  function update() {
    const text = field("text").value.trim().toLowerCase(), side = field("side").value;
    const fits = filters[field("show").value], groups = new Map();
    let photographs = 0;
    for (const row of rows) {
      if (text && !words[row].includes(text)) continue;
      if (side !== "" && sheets.side[row] !== Number(side)) continue;
      if (!fits(row)) continue;
      const key = sheets.side[row] ? "/" + sheets.side[row] : sheets.label[row];
      if (!groups.has(key)) {
        groups.set(key, { name: sheets.side[row] ? sheets.sides[sheets.side[row]] : label(row) || "not labelled", rows: [] });
      }
      groups.get(key).rows.push(row);
      photographs += 1;
    }
    // unknown individuals come after all known ones, and then the other sides
    const place = (group) => 2 * sheets.side[group.rows[0]] + (group.name === sheets.unknown);
    const sorted = [...groups.values()].sort((a, b) =>
      place(a) - place(b) || orders[field("order").value](a, b) || orders.name(a, b));
    const size = sorted.length === 1 ? "1 group" : `${sorted.length} groups`;
    count.textContent = `${photographs} photographs in ${size}`;
    cards.set(sorted);
  }
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", update);
  form.addEventListener("reset", () => setTimeout(update));
  update();
  kitbox.ready();
})();
