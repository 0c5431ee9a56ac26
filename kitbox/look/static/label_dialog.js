// A dialog to type or choose the label of some images.

import { make } from "./elements.js";

const HINT = "A new label makes a new individual.";

// Resolves to the label, or to '' if the dialog is cancelled. The labels in `near` are offered as
// buttons.
export function askForLabel(dialog, images, near, labels) {
  return new Promise((resolve) => {
    const known = new Set(labels.known.map(([label]) => label));
    const input = make("input", { type: "text", id: "label", list: "labels", autocomplete: "off", spellcheck: "false" });
    const hint = make("p", { class: "hint", text: HINT });
    const buttons = near.map((label) => make("button", { type: "button", text: label, onclick: () => end(label) }));
    const end = (label) => {
      dialog.onkeydown = dialog.oncancel = null;
      dialog.close();
      resolve(label);
    };
    input.addEventListener("input", () => {
      const label = input.value.trim();
      const stays = Object.hasOwn(labels.merged, label) ? labels.merged[label] : "";
      if (stays) hint.textContent = `${label} was merged into ${stays}; use that label.`;
      else {
        hint.textContent = !label || known.has(label)
          ? HINT
          : `${label} is new: the images become an individual of their own.`;
      }
    });
    dialog.className = "label-dialog";
    dialog.replaceChildren(
      make("h2", { text: images.length > 1 ? `Which individual do these ${images.length} images show?` : `Which individual does ${images[0].id} show?` }),
      make("label", { for: "label", text: "Label (Tab moves to the suggestions)" }),
      input,
      make("div", { class: "row" }, buttons),
      make("datalist", { id: "labels" }, labels.known.slice(0, 3000).map(([label, count]) => make("option", { value: label, text: `${count} photographs` }))),
      hint,
      make("div", { class: "row" },
        make("span", { class: "spacer" }),
        make("button", { type: "button", text: "Cancel (Esc)", onclick: () => end("") }),
        make("button", { type: "button", class: "main", text: "Set label (Enter)", onclick: () => end(input.value.trim()) })),
    );
    dialog.oncancel = (event) => { event.preventDefault(); end(""); };
    dialog.onkeydown = (event) => {
      event.stopPropagation();
      if (event.isComposing) return; // Enter ends a word of an input method
      if (event.key === "Enter" && event.target === input) { event.preventDefault(); end(input.value.trim()); }
    };
    dialog.showModal();
    input.focus();
  });
}
