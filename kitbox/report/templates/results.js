"use strict";
// The queries as cards: search, filters, order; each with its nearest gallery images.
(async () => {
  const { pack, make, image, list, show, watch } = kitbox;
  const { images, labels, queries, members, cut, perRows } = await pack("queries");
  const label = (number) => labels[images.label[number]] ?? "";
  const shown = (value, digits = 3) => (value === null ? "–" : (value / 1e4).toFixed(digits));
  const rows = queries.id.map((_, row) => row);
  const words = rows.map((row) =>
    [queries.id[row], images.id[queries.image[row]], labels[queries.who[row]] ?? ""].join("\n").toLowerCase());
  const OUTCOMES = [["✗ wrong", "is-wrong"], ["✓ right", "is-right"], ["– " + queries.open, "is-open"]];

  function card(row) {
    const number = queries.image[row], who = labels[queries.who[row]] ?? "";
    const [outcome, tone] = OUTCOMES[queries.outcome[row]];
    const name = who || "nobody in particular";
    const alt = `query ${queries.id[row]}, ${name}`;
    const title = make("h3", { id: "q" + row }, name);
    const near = make("ol", { class: "near", "aria-label": "nearest images of the gallery" });
    const asked = make("div", { class: "asked" },
      make("button", { type: "button", class: "shot", style: `--shape: ${images.shape[number] / 100}`,
        onclick: () => show([[number, alt]], 0) }, image(number, alt)),
      title,
      make("p", {}, queries.id[row]),
      make("p", {}, make("span", { class: "badge " + tone }, outcome), ` ${queries.told} ${shown(queries.value[row])}`),
      make("p", {}, queries.known[row] ? `${queries.relevant[row]} of it in the gallery` : "not in the gallery"),
      queries.cluster === null ? null
        : make("p", {}, `in a cluster of ${queries.cluster[0][row]}, ${queries.cluster[1][row]} of the same individual`),
      queries.limit[row] === null ? null
        : make("p", {}, `first answer ${shown(queries.first[row])}, threshold ${shown(queries.limit[row])}`),
      members.length < 2 ? null
        : make("p", {}, members.map((m) => `${m.name} ${shown(m.value[row])}`).join(" · ")));
    const body = make("div", {});
    if (queries.answers) {
      const right = queries.expected[row];
      body.append(make("ol", { class: "answers", "aria-label": "answers" }, ...queries.answers[row].map((answer, place) =>
        make("li", { class: answer === right ? "hit" : null },
          `${place + 1} ${labels[answer] ?? ""}${answer === right ? " ✓" : ""}`))));
    }
    body.append(near);
    const node = make("article", { class: "card", tabindex: "-1", "aria-labelledby": "q" + row }, asked, body);
    node.dataset.query = queries.id[row];
    neighbours(row, near, [number, alt]);
    return node;
  }

  async function neighbours(row, near, asked) {
    const part = await pack("near-" + Math.floor(row / perRows));
    const [numbers, similarities, marks] = part[row % perRows];
    const isHit = (place) => (marks[place] & 1) === 1, isNear = (place) => (marks[place] & 2) === 2;
    const figures = numbers.map((number, place) => [number,
      `${place + 1}: ${images.id[number]}, ${label(number) || "nobody in particular"}, similarity ${shown(similarities[place])}${isHit(place) ? ", the same individual" : ""}${isNear(place) ? ", in its cluster" : ""}`]);
    near.append(...numbers.map((number, place) => {
      const hit = isHit(place), beyond = cut && place >= queries.kept[row];
      return make("li", { class: (hit ? "hit" : "") + (beyond ? " beyond" : "") },
        make("button", { type: "button", class: "shot", onclick: () => show(figures, place, asked) },
          image(number, figures[place][1])),
        make("small", {}, `${place + 1} · ${shown(similarities[place], 2)}${hit ? " ✓" : ""}`),
        make("small", {}, label(number) || "–"),
        isNear(place) ? make("small", {}, "in its cluster") : null);
    }));
    watch(near);
  }

  const form = document.querySelector(".find"), field = (id) => document.getElementById(id);
  const count = document.querySelector(".count"), cards = list(field("cards"), card, 12);
  const value = (row) => queries.value[row] ?? 1e9;
  const gain = (member) => (row) => {
    const others = members.filter((_, m) => m !== member).map((m) => m.value[row] ?? 0);
    return (members[member].value[row] ?? 0) - Math.max(...others);
  };
  // of equals, the surest mistake and the narrowest success come first
  const orders = {
    worst: (a, b) => value(a) - value(b) || queries.first[b] - queries.first[a],
    best: (a, b) => (queries.value[b] ?? -1) - (queries.value[a] ?? -1) || queries.first[b] - queries.first[a],
    sure: (a, b) => queries.first[b] - queries.first[a],
    unsure: (a, b) => queries.first[a] - queries.first[b],
    name: (a, b) => queries.id[a].localeCompare(queries.id[b], undefined, { numeric: true }),
  };
  members.forEach((_, m) => { orders["member" + m] = (a, b) => gain(m)(b) - gain(m)(a); });

  function find() {
    const text = field("text").value.trim().toLowerCase();
    const outcome = field("outcome").value, known = field("known").value;
    const found = rows.filter((row) =>
      (!text || words[row].includes(text))
      && (outcome === "" || queries.outcome[row] === Number(outcome))
      && (known === "" || queries.known[row] === Number(known)));
    found.sort(orders[field("order").value]);
    count.textContent = found.length === rows.length
      ? `${rows.length} queries` : `${found.length} of ${rows.length} queries`;
    cards.set(found);
  }
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", find);
  form.addEventListener("reset", () => setTimeout(find));
  document.addEventListener("click", (event) => {
    const asked = event.target.closest?.("[data-find]");
    if (!asked) return;
    form.reset();
    field("text").value = asked.dataset.find;
    setTimeout(find);
    document.getElementById("queries").scrollIntoView();
  });
  find();
  document.body.dataset.ready = "yes";
})();
