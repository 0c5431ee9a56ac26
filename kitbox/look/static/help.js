// A dialog that lists the keys of a view.

import { make } from "./elements.js";

const NAMES = { " ": "space", ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓" };

export function showHelp(dialog, keys) {
  const rows = [...keys, ["?", "show these keys", null]];
  dialog.className = "help-dialog";
  dialog.onkeydown = (event) => {
    event.stopPropagation();
    if (event.key === "?") dialog.close();
  };
  dialog.replaceChildren(
    make("h2", { text: "Keys" }),
    make("dl", {}, rows.map(([key, text]) => [make("dt", {}, make("kbd", { text: NAMES[key] ?? key })), make("dd", { text })])),
    make("div", { class: "row" }, make("span", { class: "spacer" }), make("button", { type: "button", class: "main", text: "Close", onclick: () => dialog.close() })));
  dialog.showModal();
}
