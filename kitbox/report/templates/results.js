"use strict";
// Cards of queries with their nearest gallery images; search, filters and order.
(async () => {
  const { chunk, make, image, lazyList, showLarge, watch } = kitbox;
  const { images, labels, queries, members, answersAreImages, perChunk } = await chunk("queries");
  const label = (number) => labels[images.label[number]] ?? "";
  const format = (value, digits = 3) => (value === null ? "–" : (value / 1e4).toFixed(digits));
  const rows = queries.id.map((_, row) => row);
  const words = rows.map((row) =>
    [queries.id[row], images.id[queries.image[row]], labels[queries.label[row]] ?? ""].join("\n").toLowerCase());
  const FEW = 5; // neighbours on a card before more are asked for
  const OUTCOMES = [["✗ wrong", "is-wrong"], ["✓ right", "is-right"], ["– " + queries.unscored, "is-open"]];

  function card(row) {
    const number = queries.image[row];
    const [outcome, tone] = OUTCOMES[queries.outcome[row]];
    const name = labels[queries.label[row]] || "unknown individual";
    const alt = `query ${queries.id[row]}, ${name}`;
    const title = make("h3", { id: "q" + row }, name);
    // empty places keep the height of a card until its neighbours are loaded
    const near = make("ol", { class: "near", "aria-label": "nearest images of the gallery" },
      ...Array.from({ length: FEW }, () => make("li", { "aria-hidden": true },
        make("span", { class: "missing" }), make("small", {}, "\u00a0"), make("small", {}, "\u00a0"))));
    const query = make("div", { class: "query" },
      make("button", { type: "button", class: "picture", style: `--shape: ${images.aspect[number] / 100}`,
        onclick: () => showLarge([[number, alt]], 0) }, image(number, alt)),
      title,
      make("p", {}, queries.id[row]),
      make("p", {}, make("span", { class: "badge " + tone }, outcome), ` ${queries.metric} ${format(queries.value[row])}`),
      make("p", {}, queries.known[row] ? `${queries.relevant[row]} of this individual in the gallery` : "not in the gallery"),
      queries.cluster === null ? null
        : make("p", {}, `in a cluster of ${queries.cluster[0][row]}, ${queries.cluster[1][row]} of the same individual`),
      queries.threshold[row] === null ? null
        : make("p", {}, `first answer ${format(queries.firstSimilarity[row])}, threshold ${format(queries.threshold[row])}`),
      members.length < 2 ? null
        : make("p", {}, members.map((m) => `${m.name} ${format(m.value[row])}`).join(" · ")));
    const body = make("div", {});
    if (queries.answers) {
      const right = queries.expected[row];
      body.append(make("ol", { class: "answers", "aria-label": "answers" }, ...queries.answers[row].map((answer, place) =>
        make("li", { class: answer === right ? "hit" : null },
          `${place + 1} ${labels[answer] ?? ""}${answer === right ? " ✓" : ""}`))));
    }
    body.append(near);
    const node = make("article", { class: "card", tabindex: "-1", "aria-labelledby": "q" + row }, query, body);
    node.dataset.query = queries.id[row];
    addNeighbours(row, near, [number, alt]);
    return node;
  }

  async function addNeighbours(row, near, queryFigure) {
    const part = await chunk("near-" + Math.floor(row / perChunk));
    const [numbers, similarities, marks] = part[row % perChunk];
    const isHit = (place) => (marks[place] & 1) === 1, inCluster = (place) => (marks[place] & 2) === 2;
    const figures = numbers.map((number, place) => [number,
      `${place + 1}: ${images.id[number]}, ${label(number) || "unknown individual"}, similarity ${format(similarities[place])}${isHit(place) ? ", the same individual" : ""}${inCluster(place) ? ", in its cluster" : ""}`]);
    const items = numbers.map((number, place) => {
      const hit = isHit(place), isAnswer = !answersAreImages || place < queries.answerCount[row];
      return make("li", { class: (hit ? "hit" : "") + (isAnswer ? "" : " beyond") },
        make("button", { type: "button", class: "picture", onclick: () => showLarge(figures, place, queryFigure) },
          image(number, figures[place][1])),
        make("small", {}, `${place + 1} · ${format(similarities[place], 2)}${hit ? " ✓" : ""}`),
        make("small", {}, label(number) || "–"),
        inCluster(place) ? make("small", {}, "in its cluster") : null);
    });
    near.replaceChildren(...items.slice(0, FEW));
    if (items.length > FEW) {
      const more = make("button", { type: "button", class: "more", onclick: () => {
        near.append(...items.slice(FEW));
        watch(near);
        near.children[FEW].querySelector("button").focus({ preventScroll: true });
        more.remove();
      } }, `${items.length - FEW} more neighbours`);
      near.after(more);
    }
    watch(near);
  }

  const form = document.querySelector(".find"), field = (id) => document.getElementById(id);
  const count = document.querySelector(".count"), cards = lazyList(field("cards"), card, 8, true);
  const value = (row) => queries.value[row] ?? 1e9;
  const gain = (member) => (row) => {
    const others = members.filter((_, m) => m !== member).map((m) => m.value[row] ?? 0);
    return (members[member].value[row] ?? 0) - Math.max(...others);
  };
  // of equal scores the most similar answer comes first
  const orders = {
    worst: (a, b) => value(a) - value(b) || queries.firstSimilarity[b] - queries.firstSimilarity[a],
    best: (a, b) => (queries.value[b] ?? -1) - (queries.value[a] ?? -1) || queries.firstSimilarity[b] - queries.firstSimilarity[a],
    sure: (a, b) => queries.firstSimilarity[b] - queries.firstSimilarity[a],
    unsure: (a, b) => queries.firstSimilarity[a] - queries.firstSimilarity[b],
    name: (a, b) => queries.id[a].localeCompare(queries.id[b], undefined, { numeric: true }),
  };
  members.forEach((_, m) => { orders["member" + m] = (a, b) => gain(m)(b) - gain(m)(a); });

  function update() {
    const text = field("text").value.trim().toLowerCase();
    const exact = text.length > 2 && text.startsWith('"') && text.endsWith('"') ? text.slice(1, -1) : null;
    const matches = (row) => (exact === null ? words[row].includes(text) : words[row].split("\n").includes(exact));
    const outcome = field("outcome").value, known = field("known").value;
    const found = rows.filter((row) =>
      (!text || matches(row))
      && (outcome === "" || queries.outcome[row] === Number(outcome))
      && (known === "" || queries.known[row] === Number(known)));
    found.sort(orders[field("order").value]);
    count.textContent = found.length === rows.length
      ? `${rows.length} queries` : `${found.length} of ${rows.length} queries`;
    cards.set(found);
  }
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", update);
  form.addEventListener("reset", () => setTimeout(update));
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-find]");
    if (!button) return;
    form.reset();
    field("text").value = `"${button.dataset.find}"`; // w_1 is not w_10
    setTimeout(() => {
      update();
      document.getElementById("queries").scrollIntoView();
    });
  });
  update();
  kitbox.ready();
})();
