"use strict";
// Cards of findings: what is wrong, where, the action taken, and the picture if there is one.
(async () => {
  const { chunk, make, image, lazyList, showLarge } = kitbox;
  const findings = await chunk("findings"), field = (id) => document.getElementById(id);
  const words = findings.map((row) => row.slice(0, 5).join("\n").toLowerCase());
  const TONES = { stop: "is-wrong", drop: "is-wrong", repair: "is-right", keep: "is-open" };

  function card(number) {
    const [kind, action, where, id, what, picture] = findings[number];
    const alt = id || where;
    return make("article", { class: "card finding", tabindex: "-1", "aria-labelledby": "f" + number },
      picture < 0 ? make("span", {}) : make("button", { type: "button", class: "picture", onclick: () => showLarge([[picture, alt]], 0) },
        image(picture, alt)),
      make("div", {},
        make("h3", { id: "f" + number }, kind + " ", make("span", { class: "badge " + (TONES[action] ?? "is-open") }, action)),
        make("p", {}, what),
        make("p", { class: "place" }, [where, id && !where.includes(id) ? id : ""].filter(Boolean).join(" · "))));
  }
  const form = document.querySelector(".find"), count = document.querySelector(".count");
  const cards = lazyList(field("cards"), card, 20);
  function update() {
    const text = field("text").value.trim().toLowerCase();
    const found = findings.map((_, number) => number).filter((number) =>
      words[number].includes(text)
      && (field("kind").value === "" || findings[number][0] === field("kind").value)
      && (field("action").value === "" || findings[number][1] === field("action").value));
    count.textContent = found.length === findings.length
      ? `${found.length} findings` : `${found.length} of ${findings.length} findings`;
    cards.set(found);
  }
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", update);
  form.addEventListener("reset", () => setTimeout(update));
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-kind]");
    if (!button) return;
    form.reset();
    field("kind").value = button.dataset.kind;
    setTimeout(update);
    field("findings").scrollIntoView();
  });
  update();
  kitbox.ready();
})();
