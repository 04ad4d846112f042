// Two nets side by side, block by block.
import { draw, said } from "/page/draw.js";
import { fault, h, s, table } from "/page/element.js";
import { get } from "/page/server.js";
import { known, percent, shape, short, t, whole } from "/page/text.js";

const PAIRS = [["plain20", "resnet20"], ["resnet50", "densenet121"], ["densenet121", "dpn92"], ["googlenet", "resnet18"], ["highway_b", "resnet32"], ["vgg16", "resnet50"]];
const EQUATIONS = {
  plain: "y = F(x)", residual: "y = F(x) + S(x)", dense: "y = [x, H(x)]", "dual-path": "y = [r + f, d, g]",
  highway: "y = T · H(x) + (1 − T) · x", inception: "y = [F₁(x), F₂(x), F₃(x), F₄(x)]",
};
const METRICS = [
  { id: "params", key: "params", of: (b) => b.params, text: (v) => short(v) },
  { id: "macs", key: "macs", of: (b) => b.macs, text: (v) => short(v) },
  { id: "memory", key: "memory", of: (b) => b.activation_bytes, text: (v) => short(v, "B") },
  { id: "response", key: "response", of: (b) => b.response, text: (v) => v.toPrecision(3), learnt: true },
  { id: "removal", key: "removal", of: (b) => b.removal_cost, text: (v) => `${v < 0 ? "−" : "+"}${percent(Math.abs(v))}`, learnt: true, loss: true },
];

const NARROWEST = 320; // a drawing for less room is this one, smaller
const state = { nets: [], runs: [], names: [], found: new Map(), metric: "params", folded: true, width: 0 };
let root = null, observer = null;

export async function show(main, path, anew) {
  if (!state.nets.length) {
    try {
      const [nets, models] = await Promise.all([get("/v1/nets"), get("/v1/models")]);
      Object.assign(state, { nets: nets.nets, runs: models.models.filter((model) => model.run) });
    } catch (error) {
      return main.replaceChildren(h("h1", { tabindex: -1 }, t("explorer")), fault(t("failed"), error.message));
    }
  }
  const valid = (name) => state.nets.some((net) => net.name === name) || state.runs.some((run) => `run:${run.name}` === name);
  const wanted = path.filter(Boolean);
  state.names = [0, 1].map((side) => (wanted[side] && valid(wanted[side]) ? wanted[side] : PAIRS[0][side]));
  if (anew) frame(main);
  await fetchBoth();
  paint();
}

export function hide() {
  observer?.disconnect();
}

function frame(main) {
  root = h("div.pair");
  main.replaceChildren(
    h("h1", { tabindex: -1 }, t("explorer_title")), h("p.lead", {}, t("explorer_lead")),
    h("ul.pairs", { "aria-label": t("pairs") }, PAIRS.map((pair) => h("li", {}, h("a", { href: address(pair), "data-pair": pair.join("/") }, `${pair[0]} · ${pair[1]}`)))),
    h("div.controls", {}, h("fieldset.segments", { id: "metrics" }), h("div.legends", { "aria-hidden": "true" }, legends())),
    root,
  );
  observer = new ResizeObserver(() => {
    const width = columnWidth();
    if (width && width !== state.width) paint();
  });
  observer.observe(root);
}

const address = (names) => `#/explorer/${names.map(encodeURIComponent).join("/")}`;
const columnWidth = () => Math.round(root.querySelector(".net")?.clientWidth ?? 0);

function legends() {
  const line = (css, text) => h("span", {}, s("svg", { width: 22, height: 12, viewBox: "0 0 22 12" }, s(`path.${css}`, { d: "M1 9C1 2 21 2 21 9" })), text);
  return [line("arc", t("legend_shortcut")), line("stripe", t("legend_concatenation")), line("arc.gated", t("legend_gate"))];
}

async function fetchBoth() {
  await Promise.all(state.names.filter((name) => !state.found.has(name)).map(async (name) => {
    try {
      const path = name.startsWith("run:") ? `/v1/models/${encodeURIComponent(name.slice(4))}/blocks` : `/v1/nets/${encodeURIComponent(name)}`;
      state.found.set(name, await get(path));
    } catch (error) {
      state.found.set(name, { fault: error.message });
    }
  }));
}

function paint() {
  if (!root?.isConnected) return;
  const nets = state.names.map((name) => state.found.get(name));
  const learnt = nets.some((net) => net.blocks?.some((b) => b.response !== undefined || b.removal_cost !== undefined));
  if (!learnt && METRICS.find((m) => m.id === state.metric).learnt) state.metric = "params";
  for (const link of document.querySelectorAll("[data-pair]")) {
    link.dataset.pair === state.names.join("/") ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current");
  }
  document.getElementById("metrics").replaceChildren(h("legend.unseen", {}, t("beside")), ...METRICS.filter((m) => !m.learnt || learnt).map((m) =>
    h("label", {}, h("input", { type: "radio", name: "metric", value: m.id, checked: m.id === state.metric, onchange: () => { state.metric = m.id; repaint(); } }), t(m.key))));
  if (root.children.length !== 2) root.replaceChildren(h("section.net"), h("section.net"));
  state.width = columnWidth();
  repaint();
}

function repaint() {
  const nets = state.names.map((name) => state.found.get(name));
  const metric = METRICS.find((m) => m.id === state.metric);
  const sums = nets.map((net) => net.blocks && totals(net));
  [...root.children].forEach((section, side) => {
    const focused = section.contains(document.activeElement) && document.activeElement.tagName === "SELECT";
    section.setAttribute("aria-label", state.names[side].replace("run:", ""));
    section.replaceChildren(...column(nets[side], side, metric, sums));
    if (focused) section.querySelector("select").focus();
  });
}

function totals(net) {
  const sum = (of) => net.blocks.reduce((all, block) => all + (of(block) ?? 0), 0);
  return { params: sum((b) => b.params), macs: sum((b) => b.macs), memory: sum((b) => b.activation_bytes), blocks: net.blocks.filter((b) => b.kind !== "layer" && b.kind !== "auxiliary").length || net.blocks.length };
}

function column(net, side, metric, sums) {
  const picker = h("header", {}, h("label.field", {}, t(side ? "right_net" : "left_net"), choice(side)));
  if (net.fault) return [picker, fault(t("failed"), net.fault)];
  const kinds = [...new Set(net.blocks.map((b) => b.kind))].filter((kind) => EQUATIONS[kind]);
  const source = net.paper ? `${net.paper}, ${net.table} · ${t("layers_n", { n: whole(net.layers) })} · ${t("input")} ${shape(net.input)}` : `${net.net} · ${t("input")} ${shape(net.input)}`;
  const most = Math.max(...net.blocks.map((b) => metric.of(b) ?? 0));
  const drawing = h("div.drawing");
  const tip = h("div.tip.card", { hidden: true, "aria-hidden": "true" });
  drawing.append(draw(net.blocks, {
    width: Math.max(NARROWEST, state.width), metric: { ...metric, id: `${metric.id}-${side}` }, most, folded: state.folded,
    label: t("drawing_of", { name: net.name }), onunfold: () => { state.folded = false; repaint(); },
    onchoose: (block, option) => showTip(tip, drawing, block, option),
  }), tip);
  const missing = state.names[side].startsWith("run:") && !(net.responses && net.lesions);
  return [
    picker,
    h("p.equation", {}, kinds.map((kind) => EQUATIONS[kind]).join("   ") || t("chain")),
    h("p.source", {}, source),
    h("dl.totals", {}, [["params", short], ["macs", short], ["memory", (v) => short(v, "B")], ["blocks", whole]].map(([key, text]) =>
      h("div", {}, h("dt", {}, t(key)), h("dd", {}, text(sums[side][key]), share(sums[side][key], Math.max(...sums.map((sum) => sum?.[key] ?? 0))))))),
    missing && h("p.note", {}, t("not_analysed"), " ", h("code", {}, `plusx analyse ${net.name} responses`), " ", h("code", {}, `plusx analyse ${net.name} lesions`)),
    drawing,
    !state.folded && h("p", {}, h("button.button", { type: "button", onclick: () => { state.folded = true; repaint(); } }, t("fold"))),
    table(t("as_table"), [t("block"), t("kind"), t("shortcut"), t("layers"), t("output"), t("params"), t("macs"), t("memory"), ...(net.responses ? [t("response")] : []), ...(net.lesions ? [t("removal")] : [])],
      net.blocks.map((b) => [b.name, known("kind", b.kind), b.shortcut ? known("shortcut", b.shortcut) : "", b.layers.map(said).join(", "), b.output ? shape(b.output) : "", whole(b.params), whole(b.macs), whole(b.activation_bytes),
        ...(net.responses ? [b.response?.toPrecision(3) ?? ""] : []), ...(net.lesions ? [b.removal_cost === undefined ? "" : percent(b.removal_cost)] : [])])),
  ].filter(Boolean);
}

const share = (value, most) => h("i", {}, s("svg", { viewBox: "0 0 100 4", preserveAspectRatio: "none", "aria-hidden": "true" }, s("rect", { width: most ? (100 * value) / most : 0, height: 4 })));

function choice(side) {
  const families = Map.groupBy ? Map.groupBy(state.nets, (net) => net.family) : group(state.nets);
  const option = (value, text) => h("option", { value, selected: value === state.names[side] }, text);
  const runs = state.runs.length ? [h("optgroup", { label: t("runs") }, state.runs.map((run) => option(`run:${run.name}`, run.name)))] : [];
  return h("select", { onchange: (event) => { const names = [...state.names]; names[side] = event.target.value; location.hash = address(names); } },
    runs, [...families].map(([family, nets]) => h("optgroup", { label: family.replaceAll("_", " ") }, nets.map((net) => option(net.name, net.name)))));
}

function group(nets) {
  const found = new Map();
  for (const net of nets) found.set(net.family, [...(found.get(net.family) ?? []), net]);
  return found;
}

function showTip(tip, drawing, block, option) {
  tip.hidden = !block;
  if (!block) return;
  const facts = [[t("shape"), `${block.input ? shape(block.input) : ""} → ${block.output ? shape(block.output) : "–"}`], [t("params"), whole(block.params)], [t("macs"), whole(block.macs)], [t("memory"), short(block.activation_bytes, "B")]];
  if (block.growth) facts.splice(1, 0, [t("growth"), whole(block.growth)]);
  if (block.response !== undefined) facts.push([t("response"), block.response.toPrecision(3)]);
  if (block.removal_cost !== undefined) facts.push([t("removal"), percent(block.removal_cost)]);
  tip.replaceChildren(h("b", {}, `${block.name} · ${known("kind", block.kind)}${block.shortcut ? `, ${known("shortcut", block.shortcut)}` : ""}`),
    ...block.branches.map((layers) => h("div", {}, layers.map(said).join(" → "))), h("dl", {}, facts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])));
  const box = option.getBoundingClientRect(), frame = drawing.getBoundingClientRect();
  const below = box.bottom - frame.top + 4, high = tip.offsetHeight;
  tip.style.top = `${box.bottom + high + 8 > innerHeight && box.top - high > 60 ? box.top - frame.top - high - 4 : below}px`;
}
