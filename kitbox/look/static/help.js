// A dialog that lists the keys of a view, each [key, effect, action, group].

import { make } from "./elements.js";

const NAMES = { " ": "space", ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓" };

export function showHelp(dialog, keys) {
  const rows = [...keys, ["?", "show these keys", null, keys.at(-1)?.[3]]];
  const names = [...new Set(rows.map((row) => row[3]))];
  const groups = names.map((name) => [name, rows.filter((row) => row[3] === name)]);
  dialog.className = names.length > 1 ? "help-dialog wide" : "help-dialog";
  dialog.onkeydown = (event) => {
    event.stopPropagation();
    if (event.key === "?") dialog.close();
  };
  dialog.replaceChildren(
    make("h2", { text: "Keys" }),
    make("div", { class: "key-groups" }, groups.map(([name, own]) => make("section", {},
      name ? make("h3", { text: name }) : null,
      make("dl", {}, own.map(([key, text]) => [make("dt", {}, make("kbd", { text: NAMES[key] ?? key })), make("dd", { text })]))))),
    make("div", { class: "row" }, make("span", { class: "spacer" }), make("button", { type: "button", class: "main", text: "Close", onclick: () => dialog.close() })));
  dialog.showModal();
}
