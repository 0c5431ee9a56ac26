"use strict";
// Contact sheets: the photographs of each individual, of the test and of a gallery.
(async () => {
  const { pack, make, image, list, show, watch } = kitbox;
  const sheets = await pack("sheets");
  const field = (id) => document.getElementById(id), FEW = 24, PART = 120;
  sheets.sides.forEach((side, number) => field("side").append(make("option", { value: number }, side)));
  const rows = sheets.id.map((_, row) => row);
  const label = (row) => sheets.labels[sheets.label[row]] ?? "";
  const words = rows.map((row) => (sheets.id[row] + "\n" + label(row)).toLowerCase());
  const tests = {
    "": () => true,
    boxed: (row) => sheets.box[row] !== null,
    whole: (row) => sheets.box[row] === null,
    asked: (row) => sheets.asked[row] === 1,
    twin: (row) => sheets.twin[row] >= 0,
  };

  function frame(row) {
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
  function told(row) {
    const [width, height] = sheets.size[row];
    return [sheets.id[row], label(row) || sheets.sides[sheets.side[row]], `${width} × ${height}`]
      .concat(sheets.box[row] ? ["with a box"] : []).join(", ");
  }
  function sheet(group) {
    const figures = group.rows.map((row) => [row, told(row)]);
    const items = make("ul", { class: "sheet" });
    const more = make("button", { type: "button", onclick: () => grow(PART) });
    function grow(count) {
      const from = items.children.length;
      items.append(...group.rows.slice(from, from + count).map((row, place) => make("li", {},
        make("button", { type: "button", class: "shot", onclick: () => show(figures, from + place) },
          make("span", { class: "frame" }, image(row, figures[from + place][1]), frame(row))),
        make("small", {}, sheets.asked[row] ? make("span", { class: "tag" }, "query") : null,
          sheets.twin[row] >= 0 ? make("span", { class: "tag" }, `twin ${sheets.twin[row]}`) : null,
          sheets.id[row]))));
      const left = group.rows.length - items.children.length;
      more.textContent = `${Math.min(left, PART)} more of ${left}`;
      more.hidden = left <= 0;
      watch(items);
    }
    grow(FEW);
    const count = group.rows.length === 1 ? "1 photograph" : `${group.rows.length} photographs`;
    return make("article", { class: "card group", tabindex: "-1", "aria-label": `${group.name}, ${count}` },
      make("h3", {}, group.name + " ", make("small", {}, count)), items, more);
  }

  const form = document.querySelector(".find"), count = document.querySelector(".count");
  const cards = list(field("cards"), sheet, 10);
  const orders = {
    most: (a, b) => b.rows.length - a.rows.length,
    fewest: (a, b) => a.rows.length - b.rows.length,
    name: (a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }),
  };
  function find() {
    const text = field("text").value.trim().toLowerCase(), side = field("side").value;
    const fits = tests[field("show").value], groups = new Map();
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
    // those of nobody in particular come after all who have a name, and then the other sides
    const place = (group) => 2 * sheets.side[group.rows[0]] + (group.name === sheets.unknown);
    const found = [...groups.values()].sort((a, b) =>
      place(a) - place(b) || orders[field("order").value](a, b) || orders.name(a, b));
    const told = found.length === 1 ? "1 group" : `${found.length} groups`;
    count.textContent = `${photographs} photographs in ${told}`;
    cards.set(found);
  }
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", find);
  form.addEventListener("reset", () => setTimeout(find));
  find();
  document.body.dataset.ready = "yes";
})();
