// Small pictures that lead to an image or to a pair.

import { make } from "./make.js";
import { picture } from "./wire.js";

export function tile(image, { href, title, note = "", hit = false }) {
  const shown = image.problem
    ? make("span", { class: "problem", text: "cannot be read" })
    : make("img", { src: picture(image.id, 200), loading: "lazy", alt: "" });
  return make("a", { class: `tile${image.out ? " out" : ""}${hit ? " hit" : ""}`, href, title: title ?? image.id },
    make("span", { class: "thumb" }, shown),
    make("span", { class: "line" },
      make("b", { text: image.label || image.side }),
      make("span", { class: "soft", text: hit ? `${note} ✓` : note })),
    make("span", { class: "line soft", text: image.id }),
    image.decided.length ? make("span", { class: "mark decided", text: image.decided.join(", ") }) : null);
}

export function tiny(image) {
  const href = `#/image/${encodeURIComponent(image.id)}`;
  return make("a", { class: "tiny", href, title: image.id, "aria-label": image.id },
    image.problem ? make("span", { text: "?" }) : make("img", { src: picture(image.id, 200), loading: "lazy", alt: "" }));
}
