// Every sentence of the page, in the reader's language, and how numbers are written.
import en from "/page/en.js";
import ko from "/page/ko.js";

const LANGUAGES = { en, ko };
const KEPT = "plusx.language";
let language = kept() ?? (navigator.language.toLowerCase().startsWith("ko") ? "ko" : "en");

function kept() {
  try {
    const name = localStorage.getItem(KEPT);
    return name in LANGUAGES ? name : null;
  } catch { // storage may be forbidden
    return null;
  }
}

export const current = () => language;

export function choose(name) {
  language = name;
  try { localStorage.setItem(KEPT, name); } catch { /* then for this visit alone */ }
}

/** A sentence: t("images", { n: 3 }). */
export function t(key, values = {}) {
  return LANGUAGES[language][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** The sentence of a key that the server names, or the text as it came. */
export const known = (prefix, name) => LANGUAGES[language][`${prefix}_${name.replaceAll(/[ -]/g, "_")}`] ?? name;

/** What is written into the page itself. */
export function translate(root) {
  document.documentElement.lang = language;
  for (const element of root.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const element of root.querySelectorAll("[data-t-label]")) element.setAttribute("aria-label", t(element.dataset.tLabel));
}

export const whole = (n) => n.toLocaleString("en-US");
export const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)} %`;

/** Three digits and a unit: 25.6 M. */
export function short(n, unit = "") {
  for (const [size, letter] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(n) >= size) return `${three(n / size)} ${letter}${unit}`;
  }
  return `${Number.isInteger(n) ? n : three(n)}${unit ? ` ${unit}` : ""}`;
}

const three = (n) => (Math.abs(n) >= 100 ? n.toFixed(0) : Math.abs(n) >= 10 ? n.toFixed(1) : n.toFixed(2));
export const shape = (sides) => sides.join(" × ");
