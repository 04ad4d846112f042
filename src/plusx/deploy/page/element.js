// Elements in one call: h("p.note", { id: "a", onclick: f }, "text", child).
const SVG = "http://www.w3.org/2000/svg";

export const h = (kind, options = {}, ...children) => fill(document.createElement(kind.split(".")[0]), kind, options, children);
export const s = (kind, options = {}, ...children) => fill(document.createElementNS(SVG, kind.split(".")[0]), kind, options, children);

function fill(element, kind, options, children) {
  const classes = kind.split(".").slice(1);
  if (classes.length) element.classList.add(...classes);
  for (const [name, value] of Object.entries(options)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Says something to those who hear the page. */
export function announce(text) {
  document.getElementById("live").textContent = text;
}

/** What went wrong, for all to see. */
export function fault(title, sentence) {
  return h("p.fault", { role: "alert" }, h("b", {}, title), sentence);
}

/** A table for those who cannot see a drawing, and for those who want its numbers. */
export function table(title, head, rows) {
  const cells = (row) => row.map((cell, i) => (i ? h("td", {}, cell) : h("th", { scope: "row" }, cell)));
  return h("details", {}, h("summary", {}, title), h("div.scroll", { tabindex: 0, role: "group", "aria-label": title }, h("table", {},
    h("thead", {}, h("tr", {}, head.map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, cells(row)))))));
}
