// A net drawn block by block, from the image at the top to the logits at the bottom, so that its shortcuts are seen.
//
//   plain      a chain of boxes          residual   an arc around the box, added at a plus
//   dense      each box reads a comb of stripes and adds one    dual-path  the arc and the comb
//   highway    an arc with a gate, 1 - T                         inception  boxes side by side
import { s } from "/page/element.js";
import { known, shape, short, t } from "/page/text.js";

const HEIGHTS = { layer: 26, auxiliary: 26, inception: 58 };
const HEIGHT = 36, GAP = 22, FOLD = 8, KEPT = 3;
const LARGE = 6.4, SMALL = 5.6; // width of a letter

/** What is drawn in each row: blocks, and in the place of many that are alike one row that says how many. */
export function rows(blocks, folded) {
  const found = [];
  for (let start = 0, end; start < blocks.length; start = end) {
    for (end = start + 1; end < blocks.length && alike(blocks[start], blocks[end]); end++);
    const run = blocks.slice(start, end);
    const hide = folded && run.length > FOLD ? run.slice(KEPT, -1) : [];
    found.push(...run.slice(0, hide.length ? KEPT : undefined).map((block) => ({ block })));
    if (hide.length) found.push({ fold: hide.length, block: hide[0] }, { block: run.at(-1) });
  }
  return found;
}

const alike = (one, other) => one.kind === other.kind && one.kind !== "layer" && one.shortcut === other.shortcut &&
  String(one.input) === String(other.input) && String(one.output) === String(other.output) && String(one.layers) === String(other.layers);

/** The drawing. `metric` says which number stands beside each block, and `most` what the longest bar stands for. */
export function draw(blocks, { width, metric, most, folded, label, onchoose, onunfold }) {
  const shown = rows(blocks, folded);
  const narrow = width < 420;
  const combs = longestComb(shown);
  const left = narrow ? 30 : 36;
  const boxWidth = narrow ? 126 : Math.min(196, width * 0.36);
  const right = left + boxWidth;
  const middle = left + boxWidth / 2;
  const stripes = combs ? Math.min(narrow ? 52 : 132, 20 + 8 * combs) : 0;
  const shapeEnd = right + stripes + (narrow ? 66 : 112);
  const valueStart = shapeEnd + (narrow ? 10 : 18);
  const svg = s("svg", { role: "listbox", tabindex: 0, "aria-label": label });
  const [back, lines, joints] = [0, 1, 2].map(() => s("g", { "aria-hidden": "true" })), boxes = [];
  let y = 14, comb = null, band = null, lastShape = "";
  const tops = [];

  shown.forEach((row, i) => {
    const { block } = row;
    const height = row.fold ? 26 : HEIGHTS[block.kind] ?? HEIGHT;
    const top = y, bottom = y + height;
    tops.push([top, bottom]);
    const dense = ["dense", "dual-path"].includes(block.kind);
    const sides = block.output ? block.output.slice(1).join() : "";
    if (!band || band.sides !== sides) {
      if (band) back.append(bandOf(band, width));
      band = { sides, top: top - 11 };
    }
    band.bottom = bottom + 11;

    const anew = block.shortcut === "projection"; // both paths begin anew, from a projection of all that there is
    if (comb && (!dense || anew)) comb = closed(comb, top, lines, middle);
    if (dense && !comb) comb = { rows: [], x: right + 14, step: Math.max(1.4, (stripes - 20) / Math.max(5, combs)), top: top - GAP / 2, anew };
    if (i && !row.fold && block.kind !== "auxiliary" && !(comb?.rows.length && block.kind === "dense")) lines.append(s("path.trunk", { d: `M${middle} ${tops[i - 1][1]}V${top}` }));
    if (row.fold && !dense) lines.append(s("path.trunk", { d: `M${middle} ${tops[i - 1][1]}V${top}`, "stroke-dasharray": "2 4" }));
    if (shown[i - 1]?.fold && !dense) lines.append(s("path.trunk", { d: `M${middle} ${tops[i - 1][1]}V${top}`, "stroke-dasharray": "2 4" }));
    if (comb && !row.fold) combRow(comb, top, bottom, right, lines, middle);
    if (!row.fold && ["residual", "dual-path", "highway"].includes(block.kind)) arc(block, lines, joints, middle, left, top, bottom);

    boxes.push(row.fold ? foldRow(row, { top, middle, onunfold }) : boxOf(row, i, { top, height, left, boxWidth, middle, width, narrow, shapeEnd, valueStart, metric, most, onchoose, lines, lastShape }));
    if (block.output) lastShape = narrow ? squared(block.output) : shape(block.output);
    y = bottom + GAP + (block.kind === "highway" ? 8 : 0);
  });
  if (comb) closed(comb, y - GAP / 2, lines, middle);
  if (band) back.append(bandOf(band, width));
  svg.setAttribute("viewBox", `0 0 ${width} ${y - GAP + 14}`);
  svg.append(back, lines, ...boxes, joints);
  listen(svg, shown, onchoose);
  return svg;
}

const bandOf = ({ top, bottom }, width) => s("rect.band", { x: 0, y: top + 1.5, width, height: bottom - top - 3, rx: 9 });

function longestComb(shown) {
  let most = 0, now = 0;
  for (const { block, fold } of shown) {
    const dense = ["dense", "dual-path"].includes(block.kind) && !fold;
    now = dense ? (block.shortcut === "projection" ? 1 : now + 1) : 0;
    most = Math.max(most, now);
  }
  return most;
}

/** A layer reads all stripes to its right, and what it makes is one more. */
function combRow(comb, top, bottom, right, lines, middle) {
  const reads = top + 9, makes = bottom - 8;
  const first = !comb.rows.length;
  if (first) { // what comes in is the first stripe, or what its projection makes of it
    const from = comb.anew ? `M${right} ${reads}` : `M${middle} ${comb.top}`, y = comb.anew ? reads : comb.top;
    lines.append(s("path.stripe", { d: `${from}H${comb.x - 6}Q${comb.x} ${y} ${comb.x} ${y + 6}` }));
    comb.rows.push({ x: comb.x, y: y + 6 });
  }
  const last = comb.rows.at(-1).x;
  if (!(first && comb.anew)) lines.append(s("path.reads", { d: `M${right} ${reads}H${last}` }));
  if (comb.step > 2.2 && !(first && comb.anew)) for (const stripe of comb.rows) lines.append(s("circle.dot", { cx: stripe.x, cy: reads, r: Math.min(1.7, comb.step / 2.2) }));
  const x = last + comb.step;
  lines.append(s("path.stripe", { d: `M${right} ${makes}H${x - 3}Q${x} ${makes} ${x} ${makes + 3}` }));
  comb.rows.push({ x, y: makes + 3 });
}

/** All stripes together are what the next layer reads. */
function closed(comb, end, lines, middle) {
  const y = end - GAP / 2;
  for (const stripe of comb.rows) lines.append(s("path.stripe", { d: `M${stripe.x} ${stripe.y}V${y - 3}` }));
  const last = comb.rows.at(-1).x;
  lines.append(s("path.stripe", { d: `M${last} ${y - 3}Q${last} ${y} ${last - 3} ${y}H${middle}`, "stroke-width": 2.4 }));
  return null;
}

/** Around the box, from above it to the plus below it. */
function arc(block, lines, joints, middle, left, top, bottom) {
  const gated = block.kind === "highway" ? ".gated" : "";
  const x = left - 16, from = top - 7, to = bottom + (gated ? 15 : 9), r = 14;
  lines.append(s(`path.arc${gated}`, { d: `M${middle} ${from}H${x + r}Q${x} ${from} ${x} ${from + r}V${to - r}Q${x} ${to} ${x + r} ${to}H${middle - 6}` }));
  joints.append(s(`circle.joint${gated}`, { cx: middle, cy: to, r: 6 }), s(`path.plus${gated}`, { d: `M${middle - 3.4} ${to}h6.8M${middle} ${to - 3.4}v6.8` }));
  const y = (from + to) / 2;
  if (block.shortcut === "projection") {
    joints.append(s("rect.on-arc", { x: x - 11, y: y - 8, width: 22, height: 16, rx: 4 }), s("text.on-arc-text", { x, y: y + 3.3 }, "1×1"));
  } else if (gated) {
    joints.append(s("circle.on-arc.gated", { cx: x, cy: y, r: 10.5 }), s("text.on-arc-text", { x, y: y + 3.3 }, "1−T"), s("circle.on-arc.gated", { cx: middle, cy: bottom, r: 7.5 }), s("text.on-arc-text", { x: middle, y: bottom + 3.3 }, "T"));
  } else if (String(block.input) !== String(block.output) && block.kind === "residual") { // option A: zeros for new channels
    joints.append(s("circle.on-arc", { cx: x, cy: y, r: 8.5 }), s("text.on-arc-text", { x, y: y + 3.3 }, "+0"));
  }
}

function boxOf(row, i, at) {
  const { block } = row;
  const { top, height, left, boxWidth, middle, width, narrow, shapeEnd, valueStart, metric, most } = at;
  const centre = top + height / 2 + 4;
  const group = s(`g.block.k-${block.kind}`, { role: "option", id: `${metric.id}-${at.lines.childElementCount}-${i}`, "aria-selected": "false", "aria-label": spoken(block), "data-row": i });
  group.append(s("rect.hit", { x: 0, y: top - 9, width, height: height + 18, rx: 8 }));
  if (block.kind === "inception") {
    const n = block.branches.length, w = (boxWidth - 6 * (n - 1)) / n;
    block.branches.forEach((layers, b) => {
      const x = left + b * (w + 6), c = x + w / 2;
      at.lines.append(s("path.trunk", { d: `M${middle} ${top - 8}H${c}V${top}M${c} ${top + height}V${top + height + 8}H${middle}V${top + height + 12}` }));
      group.append(s("rect.box", { x, y: top, width: w, height, rx: 6 }));
      const words = layers.map((layer) => (layer.includes("pool") ? t("pool") : kernel(layer)));
      words.forEach((text, k) => group.append(s("text.words.small", { x: c, y: centre + 15 * (k - (words.length - 1) / 2), "text-anchor": "middle" }, text)));
    });
  } else {
    group.append(s("rect.box", { x: left, y: top, width: boxWidth, height, rx: block.kind === "layer" ? 6 : 9 }));
    if (block.kind === "dual-path") group.append(s("rect.dot", { x: left + boxWidth - 5, y: top + 7, width: 3, height: height - 14, rx: 1.5 }));
    const text = fitted(block, boxWidth - 12);
    group.append(s(`text.words${text.length * LARGE > boxWidth - 12 ? ".small" : ""}`, { x: middle, y: centre, "text-anchor": "middle" }, text));
  }
  const sides = block.output ? (narrow ? squared(block.output) : shape(block.output)) : "";
  if (sides && sides !== at.lastShape) group.append(s(`text${narrow ? ".small" : ""}`, { x: shapeEnd, y: centre, "text-anchor": "end" }, sides));
  const value = metric.of(block);
  if (value !== null && value !== undefined) {
    const room = width - valueStart - 14, y = top + height / 2 + 8;
    group.append(s("text.value", { x: width - 14, y: centre - 3 }, metric.text(value)), s("rect.track", { x: valueStart, y, width: room, height: 3.5, rx: 1.75 }));
    group.append(s(`rect.gauge${metric.loss ? ".loss" : ""}`, { x: valueStart, y, width: room * (most > 0 ? Math.max(0, value) / most : 0), height: 3.5, rx: 1.75 }));
  }
  return group;
}

function foldRow({ fold }, { top, middle, onunfold }) {
  return s("text.fold", { x: middle, y: top + 17, "text-anchor": "middle", "aria-hidden": "true", onclick: onunfold }, t("more_blocks", { n: fold }));
}

const squared = ([channels, height, width]) => (height === undefined ? `${channels}` : height === width ? `${channels} × ${height}²` : shape([channels, height, width]));

/** The layers of a block as they fit into its box: 3×3 64 twice, or kernels alone. */
function fitted(block, room) {
  const layers = block.layers;
  const long = layers.map(said);
  const whole = long.length > 1 && long.every((text) => text === long[0]) ? `${long.length} × (${long[0]})` : long.join(" · ");
  return whole.length * SMALL <= room ? whole : layers.map(kernel).join(" · ");
}

/** A layer in the reader's language. */
export function said(layer) {
  return layer.replace(/^(global average pool|global max pool|average pool|max pool|linear)/, (words) => known("layer", words))
    .replace(/(\d)x(\d)/g, "$1×$2").replace(/, (\d+)/, " $1").replace(/, (\d+) groups/, (_, n) => `, ${t("groups", { n })}`).replace(", /", " /");
}

const kernel = (layer) => /^\d+x\d+/.exec(layer)?.[0].replace("x", "×") ?? said(layer).replace(/ \d+×\d+.*/, "");

/** A block for those who hear it. */
export function spoken(block) {
  const parts = [block.name, known("kind", block.kind), block.shortcut && known("shortcut", block.shortcut), block.layers.map(said).join(", ")];
  if (block.output) parts.push(shape(block.output));
  return [...parts, `${short(block.params)} ${t("params")}`, `${short(block.macs)} MACs`].filter(Boolean).join("; ");
}

/** The arrow keys go from block to block, and the mouse shows what it is over. */
function listen(svg, shown, onchoose) {
  const options = [...svg.querySelectorAll(".block")];
  let at = -1;
  const choose = (next) => {
    options[at]?.classList.remove("chosen");
    options[at]?.setAttribute("aria-selected", "false");
    at = next;
    const option = options[at];
    if (!option) {
      svg.removeAttribute("aria-activedescendant");
      return onchoose(null);
    }
    option.classList.add("chosen");
    option.setAttribute("aria-selected", "true");
    svg.setAttribute("aria-activedescendant", option.id);
    onchoose(shown[option.dataset.row].block, option);
  };
  svg.addEventListener("keydown", (event) => {
    const next = { ArrowDown: at + 1, ArrowUp: Math.max(0, at - 1), Home: 0, End: options.length - 1, Escape: -1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    choose(Math.min(next, options.length - 1));
    options[at]?.scrollIntoView({ block: "nearest" });
  });
  options.forEach((option, i) => option.addEventListener("pointerenter", () => choose(i)));
  svg.addEventListener("pointerleave", () => choose(-1));
  svg.addEventListener("blur", () => choose(-1));
}
