// Curves of a run, as SVG in the page's colours.
import { h, s, table } from "/page/element.js";
import { t, whole } from "/page/text.js";

const W = 520, H = 250, LEFT = 46, RIGHT = 12, TOP = 12, BOTTOM = 30;

/** A chart: its title, its lines and a table of their numbers. Each line is { name, css, steps, values }. */
export function chart(title, lines, { text, tick, last, kept, points }) {
  const drawn = lines.filter((line) => line.values.some((v) => v !== null));
  const values = drawn.flatMap((line) => line.values.filter((v) => v !== null));
  const steps = drawn.flatMap((line) => line.steps);
  const end = Math.max(last ?? 0, ...steps, 1), { ticks, top, digits } = scale(Math.max(...values, 0));
  const x = (step) => LEFT + ((W - LEFT - RIGHT) * step) / end, y = (value) => H - BOTTOM - ((H - TOP - BOTTOM) * value) / top;
  const svg = s("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": describe(title, drawn, text) });
  for (const value of ticks) svg.append(s("path.grid", { d: `M${LEFT} ${y(value)}H${W - RIGHT}` }), s("text", { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, tick(value, digits)));
  for (const step of scale(end).ticks.filter((step) => step <= end)) svg.append(s("text", { x: x(step), y: H - 10, "text-anchor": step > end * 0.96 ? "end" : "middle" }, whole(step)));
  if (kept) svg.append(s("path.kept", { d: `M${x(kept)} ${TOP}V${H - BOTTOM}`, fill: "none" }));
  for (const line of drawn) {
    const group = s(`g.c-${line.css}`, {}, s(`path.curve${points ? "" : ".thin"}`, { d: path(line, x, y) }));
    if (points && line.steps.length <= 60) line.steps.forEach((step, i) => line.values[i] !== null && group.append(s("circle.point", { cx: x(step), cy: y(line.values[i]), r: 2.6 })));
    svg.append(group);
  }
  return h("figure.chart", {}, h("h2", {}, title),
    h("div.legend", { "aria-hidden": "true" }, drawn.map((line) => h(`span.c-${line.css}`, {}, h("i"), h("span", {}, line.name)))),
    svg, table(t("as_table"), [t("step"), ...drawn.map((line) => line.name)], rows(drawn, text)));
}

/** A line that breaks where there is no number. */
function path(line, x, y) {
  let up = true;
  return line.steps.map((step, i) => {
    if (line.values[i] === null) { up = true; return ""; }
    const piece = `${up ? "M" : "L"}${x(step).toFixed(1)} ${y(line.values[i]).toFixed(1)}`;
    up = false;
    return piece;
  }).join("");
}

/** Ticks at 1, 2 or 5 times a power of ten, and where the axis ends. */
function scale(most) {
  if (!(most > 0)) return { ticks: [0, 1], top: 1, digits: 0 };
  const power = 10 ** Math.floor(Math.log10(most / 4)), step = [1, 2, 5, 10].map((m) => m * power).find((size) => most / size <= 5);
  const count = Math.ceil(most / step - 1e-9);
  return { ticks: Array.from({ length: count + 1 }, (_, i) => Number((i * step).toPrecision(12))), top: count * step, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

const describe = (title, lines, text) => `${title}. ${lines.map((line) => {
  const told = line.values.filter((v) => v !== null);
  return t("from_to", { name: line.name, first: text(told[0]), last: text(told.at(-1)) });
}).join(" ")}`;

function rows(lines, text) {
  const steps = [...new Set(lines.flatMap((line) => line.steps))].sort((a, b) => a - b);
  const at = lines.map((line) => new Map(line.steps.map((step, i) => [step, line.values[i]])));
  return steps.map((step) => [whole(step), ...at.map((values) => (values.get(step) ?? null) === null ? "" : text(values.get(step)))]);
}
