// Images given to one model, or to two side by side: the likeliest classes, and where the net looks.
import { announce, fault, h, s, table } from "/page/element.js";
import { explain, get, picture, predict } from "/page/server.js";
import { percent, shape, short, t } from "/page/text.js";

const AT_ONCE = 3, MOST = 64;
const state = { models: [], samples: [], chosen: [null, null], items: [], opacity: 0.6 };
let root = null, running = 0, number = 0;
const waiting = [];
const pictures = new Map(); // of samples, by name

export async function show(main, path, anew) {
  if (!anew) return;
  if (!state.models.length) {
    try {
      const [models, samples] = await Promise.all([get("/v1/models"), get("/v1/samples")]);
      Object.assign(state, { models: models.models, samples: samples.samples });
      state.chosen[0] = state.models[0]?.name ?? null;
    } catch (error) {
      return main.replaceChildren(h("h1", { tabindex: -1 }, t("try")), fault(t("failed"), error.message));
    }
  }
  root = h("div.results");
  main.replaceChildren(
    h("h1", { tabindex: -1 }, t("try_title")), h("p.lead", {}, t("try_lead")),
    h("div.ask", {}, dropZone(), h("div.models", {}, choice(0), choice(1))),
    h("div.samples", {}, h("span", { id: "samples" }, t("samples")), ...state.samples.map(sampleButton)),
    root,
  );
  root.replaceChildren(...state.items.map(card));
  addEventListener("paste", pasted);
}

export function hide() {
  removeEventListener("paste", pasted);
}

// ---- asking -----------------------------------------------------------------------------------------------------------

function dropZone() {
  const input = (options) => h("input.unseen", { type: "file", accept: "image/*", ...options, onchange: (event) => { add([...event.target.files]); event.target.value = ""; } });
  const zone = h("div.drop", {},
    s("svg", { width: 44, height: 44, viewBox: "0 0 44 44", fill: "none", stroke: "currentColor", "stroke-width": 2, "stroke-linecap": "round", "stroke-linejoin": "round", "aria-hidden": "true" },
      s("rect", { x: 5, y: 8, width: 34, height: 28, rx: 5 }), s("circle", { cx: 15, cy: 17, r: 3 }), s("path", { d: "M6 32l10-9 7 6 7-8 9 9" })),
    h("strong", {}, t("drop")), h("p", {}, t("paste")),
    h("div.row", {}, h("label.button.first", {}, t("choose"), input({ multiple: true, id: "choose" })), h("label.button.photo", {}, t("photograph"), input({ capture: "environment" }))));
  const over = (event) => { event.preventDefault(); zone.classList.add("over"); };
  zone.addEventListener("dragenter", over);
  zone.addEventListener("dragover", over);
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => { event.preventDefault(); zone.classList.remove("over"); add([...event.dataTransfer.files]); });
  return zone;
}

function pasted(event) {
  const files = [...(event.clipboardData?.files ?? [])];
  if (files.length) { event.preventDefault(); add(files); }
}

function choice(side) {
  const about = h("p.about");
  const tell = () => {
    const model = state.models.find((m) => m.name === state.chosen[side]);
    about.textContent = model ? [model.net, t("classes_n", { n: model.classes.length }), shape([model.height, model.width]), model.params && `${short(model.params)} ${t("params")}`].filter(Boolean).join(" · ") : "";
  };
  const select = h("select", { id: side ? "beside" : "model", onchange: (event) => { state.chosen[side] = event.target.value || null; tell(); again(); } },
    side ? h("option", { value: "" }, t("nothing_beside")) : null,
    state.models.map((m) => h("option", { value: m.name, selected: m.name === state.chosen[side] }, m.name)));
  tell();
  return h("div", {}, h("label.field", {}, t(side ? "compare_with" : "model"), select), about);
}

function sampleButton(sample) {
  const image = h("img.pixels", { alt: "" });
  const picked = pictures.get(sample.name) ?? picture(sample.file);
  pictures.set(sample.name, picked);
  picked.then((blob) => { image.src = URL.createObjectURL(blob); }, (error) => announce(error.message));
  return h("button", { type: "button", "aria-label": t("sample", { name: sample.name }), title: sample.name, onclick: async () => {
    add([new File([await picked], `${sample.name}.png`, { type: "image/png" })]);
  } }, image);
}

function add(files) {
  const taken = files.slice(0, MOST);
  for (const file of taken.reverse()) {
    const item = { id: ++number, file, url: URL.createObjectURL(file), answers: {} };
    state.items.unshift(item);
    root.prepend(card(item));
    ask(item);
  }
  if (files.length > MOST) announce(t("too_many", { n: MOST }));
}

function again() {
  for (const item of state.items) ask(item);
}

const names = () => [...new Set(state.chosen.filter(Boolean))];

function ask(item) {
  for (const name of names()) {
    if (item.answers[name]) continue;
    item.answers[name] = { waits: true };
    waiting.push(() => answer(item, name));
  }
  paint(item);
  next();
}

function next() {
  while (running < AT_ONCE && waiting.length) {
    running++;
    waiting.shift()().finally(() => { running--; next(); });
  }
}

async function answer(item, name) {
  const model = state.models.find((m) => m.name === name);
  try {
    const said = await predict(item.file, name, Math.min(5, model.classes.length));
    item.answers[name] = { said };
    const [first] = said.classes;
    announce(t(said.unknown ? "announce_unknown" : "announce", { file: item.file.name, name: first.name, share: percent(first.probability), model: name }));
    paint(item);
    if (model.explains) await look(item, name, first.name);
  } catch (error) {
    item.answers[name] = { error: error.message };
    announce(error.message);
    paint(item);
  }
}

/** Where the net looks for a class. */
async function look(item, name, wanted) {
  const found = item.answers[name];
  found.wanted = wanted;
  paint(item);
  try {
    const seen = await explain(item.file, name, wanted);
    if (found.wanted === wanted) Object.assign(found, { seen, unseen: null });
  } catch (error) {
    if (found.wanted === wanted) Object.assign(found, { seen: null, unseen: error.message });
  }
  paint(item);
}

// ---- answers ----------------------------------------------------------------------------------------------------------

function card(item) {
  const box = h("article.result.card", { id: `item-${item.id}`, "aria-label": item.file.name });
  box.append(h("header", {}, h("h2", {}, item.file.name), h("button.close", { type: "button", "aria-label": t("remove", { name: item.file.name }), onclick: () => {
    state.items.splice(state.items.indexOf(item), 1);
    URL.revokeObjectURL(item.url);
    box.remove();
    document.getElementById("choose")?.focus();
  } }, "×")), h("div.answers"));
  fillCard(box, item);
  return box;
}

function paint(item) {
  const box = document.getElementById(`item-${item.id}`);
  if (!box) return;
  const focused = box.contains(document.activeElement) ? document.activeElement.dataset.keep : null;
  fillCard(box, item);
  if (focused) box.querySelector(`[data-keep="${CSS.escape(focused)}"]`)?.focus();
}

function fillCard(box, item) {
  box.querySelector(".answers").replaceChildren(...names().map((name) => section(item, name, names().length > 1)));
}

function section(item, name, several) {
  const found = item.answers[name] ?? { waits: true };
  const title = several && h("p.says", {}, h("b", {}, name));
  if (found.error) return h("section", {}, title, fault(t("not_answered"), found.error));
  return h("section", { "aria-busy": String(Boolean(found.waits)) }, title, h("div.answer", {}, view(item, name, found), h("div", {}, says(item, found), bars(item, name, found), parts(found))));
}

function view(item, name, found) {
  const seen = found.seen;
  const image = h("img", { src: seen?.image ?? item.url, alt: seen ? t("seen", { name: found.wanted }) : item.file.name });
  image.addEventListener("load", () => image.classList.toggle("pixels", image.naturalWidth <= 64));
  image.addEventListener("error", () => { image.hidden = true; });
  const frame = h("div.seen", {}, image);
  if (!seen) return h("div", {}, frame, found.unseen && h("p.note", {}, found.unseen));
  const heat = heatMap(seen.map);
  heat.style.opacity = state.opacity;
  frame.append(heat);
  const slider = h("input", { type: "range", min: 0, max: 1, step: 0.05, value: state.opacity, "data-keep": `opacity-${name}`, oninput: (event) => {
    state.opacity = Number(event.target.value);
    for (const each of document.querySelectorAll(".seen canvas")) each.style.opacity = state.opacity;
    for (const each of document.querySelectorAll(".slider input")) each.value = state.opacity;
  } });
  return h("div", {}, frame, h("label.slider", {}, t("opacity"), slider), seen.note && h("p.note", {}, seen.note));
}

function says(item, found) {
  if (found.waits) return h("p.says", {}, h("span.wait", { "aria-hidden": "true" }), " ", t("waits"));
  return h("p.says", {}, found.said.unknown ? h("span.badge", {}, t("unknown")) : null, found.said.unknown ? ` ${t("best_guess")}` : found.seen ? t("looks", { name: found.wanted }) : t("likeliest"));
}

function bars(item, name, found) {
  if (!found.said) return h("ul.bars");
  const model = state.models.find((m) => m.name === name);
  return h(`ul.bars${found.said.unknown ? ".is-unknown" : ""}`, { "aria-label": t("likeliest") }, found.said.classes.map(({ name: label, probability }) => {
    const bar = h("i");
    bar.style.width = `${100 * probability}%`;
    return h("li", {}, h("button", { type: "button", "data-keep": `${name}-${label}`, disabled: !model.explains, "aria-pressed": String(found.wanted === label), title: model.explains ? t("show_why", { name: label }) : null, onclick: () => look(item, name, label) },
      h("span.name", {}, label), h("span.share", {}, percent(probability)), h("span.bar", { "aria-hidden": "true" }, bar)));
  }));
}

/** What each residual block adds to the logit of the class. */
function parts({ seen }) {
  if (!seen?.blocks?.length) return null;
  const signed = (v) => (v < 0 ? "−" : "+") + Math.abs(v).toPrecision(3);
  return table(t("contributions", { name: seen.class }), [t("block"), t("contribution")], seen.blocks.map(({ name, contribution }) => [name, signed(contribution)]));
}

/** The map in colour: nothing where it is 0, amber and then red where it is strong. */
function heatMap(map) {
  const height = map.length, width = map[0].length, small = h("canvas", { width, height }), pixels = new ImageData(width, height);
  map.flat().forEach((v, i) => pixels.data.set([255 - 35 * v * v, 200 - 165 * v * v, 40, 255 * v ** 1.6], 4 * i));
  small.getContext("2d").putImageData(pixels, 0, 0);
  const scale = Math.max(1, Math.round(400 / Math.max(width, height)));
  const large = h("canvas", { width: width * scale, height: height * scale, "aria-hidden": "true" }), pen = large.getContext("2d");
  pen.imageSmoothingQuality = "high";
  pen.drawImage(small, 0, 0, large.width, large.height);
  return large;
}
