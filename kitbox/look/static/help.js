// Tells what the keys do.

import { make } from "./make.js";

export function help(dialog, keys) {
  const named = { " ": "space", ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓" };
  const rows = [...keys, ["?", "these keys", null]];
  dialog.className = "keys";
  dialog.onkeydown = (event) => {
    event.stopPropagation();
    if (event.key === "?") dialog.close();
  };
  dialog.replaceChildren(
    make("h2", { text: "Keys" }),
    make("dl", {}, rows.map(([key, says]) => [make("dt", {}, make("kbd", { text: named[key] ?? key })), make("dd", { text: says })])),
    make("div", { class: "row" }, make("span", { class: "gap" }), make("button", { type: "button", class: "main", text: "Close", onclick: () => dialog.close() })));
  dialog.showModal();
}
