// Which view is shown: #/try, #/run/MODEL, #/explorer/NET/NET.
import { choose, current, t, translate } from "/page/text.js";

const VIEWS = { try: () => import("/page/try.js"), run: () => import("/page/run.js"), explorer: () => import("/page/explorer.js") };
const main = document.getElementById("main");
let shown = null;
let turn = 0;

async function route() {
  const [name, ...rest] = location.hash.replace(/^#\//, "").split("/").map(decodeURIComponent);
  if (location.hash === "#main") return main.focus(); // the link that skips the header
  const view = name in VIEWS ? name : "try";
  const mine = ++turn;
  for (const link of document.querySelectorAll("[data-view]")) {
    link.dataset.view === view ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  }
  document.title = `plusx · ${t(view)}`;
  const module = await VIEWS[view]();
  if (mine !== turn) return; // another view was asked for meanwhile
  const before = shown;
  if (before && before !== module) before.hide?.();
  shown = module;
  const first = before === null;
  await module.show(main, rest, before !== module);
  if (!first && before !== module) main.querySelector("h1")?.focus({ preventScroll: true });
}

for (const button of document.querySelectorAll("[data-language]")) {
  button.addEventListener("click", () => {
    choose(button.dataset.language);
    speak();
    shown?.hide?.();
    shown?.show(main, location.hash.split("/").slice(2).map(decodeURIComponent), true);
  });
}

function speak() {
  translate(document);
  for (const button of document.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", String(button.dataset.language === current()));
  }
}

speak();
window.addEventListener("hashchange", route);
route();
