// Small pictures that link to an image or to a pair of images.

import { pictureUrl } from "./api.js";
import { make } from "./elements.js";

export function tile(image, { href, title, note = "", hit = false }) {
  const picture = image.problem
    ? make("span", { class: "problem", text: "cannot be read" })
    : make("img", { src: pictureUrl(image.id, 200), loading: "lazy", alt: "" });
  return make("a", { class: `tile${image.excluded ? " excluded" : ""}${hit ? " hit" : ""}`, href, title: title ?? image.id },
    make("span", { class: "thumb" }, picture),
    make("span", { class: "line" },
      make("b", { text: image.label || image.side }),
      make("span", { class: "soft", text: hit ? `${note} ✓` : note })),
    make("span", { class: "line soft", text: image.id }),
    image.tags.length ? make("span", { class: "badge decided", text: image.tags.join(", ") }) : null);
}

export function thumbnail(image) {
  const href = `#/image/${encodeURIComponent(image.id)}`;
  return make("a", { class: "thumbnail", href, title: image.id, "aria-label": image.id },
    image.problem ? make("span", { text: "?" }) : make("img", { src: pictureUrl(image.id, 200), loading: "lazy", alt: "" }));
}
