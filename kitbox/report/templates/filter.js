"use strict";
// Search among the cards of the page.
(() => {
  const form = document.querySelector(".find"), count = document.querySelector(".count");
  const cards = [...document.querySelectorAll(".card")].map((card) => [card, card.textContent.toLowerCase()
    + [...card.querySelectorAll("img")].map((image) => image.alt.toLowerCase()).join("\n")]);
  function update() {
    const text = document.getElementById("text").value.trim().toLowerCase();
    const kind = document.getElementById("kind").value;
    let shown = 0;
    for (const [card, words] of cards) {
      card.hidden = !(words.includes(text) && (kind === "" || card.dataset.kind === kind));
      shown += !card.hidden;
    }
    count.textContent = shown === cards.length ? `${shown} cards` : `${shown} of ${cards.length} cards`;
  }
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", update);
  form.addEventListener("reset", () => setTimeout(update));
  update();
  document.body.dataset.ready = "yes";
})();
