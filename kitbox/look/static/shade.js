// Light or dark: as the system has it, until the person says otherwise.

export function dress() {
  dressed(localStorage.getItem("shade"));
  document.querySelector("#shade").onclick = () => {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const now = document.documentElement.dataset.shade ?? (dark ? "dark" : "light");
    const next = now === "dark" ? "light" : "dark";
    localStorage.setItem("shade", next);
    dressed(next);
  };
}

function dressed(shade) {
  if (shade) document.documentElement.dataset.shade = shade;
}
