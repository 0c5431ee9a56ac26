"use strict";
// Findings as cards: what is wrong, where, what is done, and the picture where there is one.
(async () => {
  const { pack, make, image, list, show } = kitbox;
  const findings = await pack("findings"), field = (id) => document.getElementById(id);
  const words = findings.map((row) => row.slice(0, 5).join("\n").toLowerCase());
  const TONES = { stop: "is-wrong", drop: "is-wrong", repair: "is-right", keep: "is-open" };

  function card(number) {
    const [kind, action, where, id, what, picture] = findings[number];
    const alt = id || where;
    return make("article", { class: "card finding", tabindex: "-1", "aria-labelledby": "f" + number },
      picture < 0 ? make("span", {}) : make("button", { type: "button", class: "shot", onclick: () => show([[picture, alt]], 0) },
        image(picture, alt)),
      make("div", {},
        make("h3", { id: "f" + number }, kind + " ", make("span", { class: "badge " + (TONES[action] ?? "is-open") }, action)),
        make("p", {}, what),
        make("p", { class: "place" }, [where, id && !where.includes(id) ? id : ""].filter(Boolean).join(" · "))));
  }
  const form = document.querySelector(".find"), count = document.querySelector(".count");
  const cards = list(field("cards"), card, 20);
  function find() {
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
  form.addEventListener("input", find);
  form.addEventListener("reset", () => setTimeout(find));
  document.addEventListener("click", (event) => {
    const asked = event.target.closest?.("[data-kind]");
    if (!asked) return;
    form.reset();
    field("kind").value = asked.dataset.kind;
    setTimeout(find);
    field("findings").scrollIntoView();
  });
  find();
  document.body.dataset.ready = "yes";
})();
