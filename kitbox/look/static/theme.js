// Light or dark theme: that of the system until the user chooses one.

export function initTheme() {
  applyTheme(localStorage.getItem("theme"));
  document.querySelector("#theme").onclick = () => {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const current = document.documentElement.dataset.theme ?? (dark ? "dark" : "light");
    const next = current === "dark" ? "light" : "dark";
    localStorage.setItem("theme", next);
    applyTheme(next);
  };
}

function applyTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
}
