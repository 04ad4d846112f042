// How a run went, or goes: its curves, what it confuses, its worst mistakes, its card.
import { chart } from "/page/chart.js";
import { announce, fault, h } from "/page/element.js";
import { get, picture } from "/page/server.js";
import { known, percent, t, whole } from "/page/text.js";

const EVERY = 2000, QUIET = 90, LARGEST = 40;
const SPLITS = ["train", "val", "test"];
const ORDER = ["net", "data", "input", "recipe", "augmentation", "loss", "optimizer", "schedule", "length", "seed"];
let timer = null, run = null, urls = [];

export async function show(main, path) {
  hide();
  let models;
  try {
    models = (await get("/v1/models")).models.filter((model) => model.run);
  } catch (error) {
    return main.replaceChildren(h("h1", { tabindex: -1 }, t("run")), fault(t("failed"), error.message));
  }
  if (!models.length) return main.replaceChildren(h("h1", { tabindex: -1 }, t("run_title")), h("p.empty", {}, t("no_runs")));
  run = models.find((model) => model.name === path[0]) ?? models[0];
  const mine = run;
  const parts = { status: h("div"), charts: h("div"), confusion: h("div"), mistakes: h("div"), facts: h("div") };
  main.replaceChildren(h("h1", { tabindex: -1 }, t("run_title")),
    h("label.field.pick", {}, t("run"), h("select", { id: "run", onchange: (event) => { location.hash = `#/run/${encodeURIComponent(event.target.value)}`; } }, models.map((model) => h("option", { value: model.name, selected: model === run }, model.name)))),
    parts.status, parts.charts, parts.confusion, parts.mistakes, parts.facts);
  const base = `/v1/models/${encodeURIComponent(run.name)}`;
  const here = () => run === mine && parts.status.isConnected;
  await follow(base, parts, here);
  if (here()) await Promise.all([confusion(base, parts.confusion, here), mistakes(base, parts.mistakes, here), facts(base, parts.facts)]);
}

export function hide() {
  clearTimeout(timer);
  run = null;
  for (const url of urls) URL.revokeObjectURL(url);
  urls = [];
}

// ---- curves -----------------------------------------------------------------------------------------------------------

async function follow(base, parts, here) {
  let found;
  try {
    found = await get(`${base}/curves`);
  } catch (error) {
    if (!here()) return;
    parts.charts.replaceChildren(fault(t("failed"), error.message));
    timer = setTimeout(() => here() && follow(base, parts, here), 5 * EVERY);
    return;
  }
  if (!here()) return;
  const goesOn = found.status !== "finished";
  parts.status.replaceChildren(...status(found, goesOn));
  if (!parts.charts.contains(document.activeElement)) parts.charts.replaceChildren(charts(found)); // a table that is being read stays
  if (goesOn) timer = setTimeout(() => here() && follow(base, parts, here), EVERY);
  else if (parts.status.dataset.went) announce(t("finished"));
  parts.status.dataset.went = goesOn ? "on" : "";
}

function status(found, goesOn) {
  const quiet = goesOn && found.seconds_since > QUIET;
  const last = (name) => found.series.find((each) => each.name === name)?.values.findLast((v) => v !== null);
  const errors = SPLITS.filter((split) => last(`${split}_error`) !== undefined).map((split) => h("span", {}, `${t(`${split}_error`)} `, h("b", {}, percent(last(`${split}_error`), 2))));
  const steps = found.steps ? t("step_of", { step: whole(found.step), steps: whole(found.steps) }) : t("step_n", { step: whole(found.step) });
  return [
    h("p.status", {}, h(`span${goesOn && !quiet ? ".live" : ""}`, {}, h("b", {}, t(quiet ? "quiet" : goesOn ? "training" : "finished"))), h("span", {}, steps),
      quiet && h("span", {}, t("since", { minutes: whole(Math.round(found.seconds_since / 60)) })), errors),
    goesOn && found.steps ? h("progress", { value: found.step, max: found.steps, "aria-label": t("progress") }) : "",
  ];
}

function charts(found) {
  const line = (name, css, label) => {
    const series = found.series.find((each) => each.name === name);
    return series && { name: label, css, steps: series.steps, values: series.values };
  };
  const errors = SPLITS.map((split) => line(`${split}_error`, split, t(`${split}_images`))).filter(Boolean);
  const loss = line("batch_loss", "train", t("train_images"));
  const about = { last: found.steps ?? found.step, kept: found.kept_step !== null && found.kept_step < found.step ? found.kept_step : null };
  const drawn = [errors.length && chart(t("error_chart"), errors, { ...about, text: (v) => percent(v), tick: (v, digits) => percent(v, Math.max(0, digits - 2)), points: true }), loss && chart(t("batch_loss"), [loss], { ...about, text: (v) => v.toPrecision(3), tick: (v, digits) => v.toFixed(digits) })].filter(Boolean);
  return h("div.charts", {}, drawn.length ? drawn : h("p.empty", {}, t("no_curves")));
}

// ---- what it confuses -------------------------------------------------------------------------------------------------

async function confusion(base, part, here) {
  const title = h("h2", {}, t("confusion"));
  let found;
  try {
    found = await get(`${base}/confusion`);
  } catch (error) {
    return part.replaceChildren(title, h("p.empty", {}, error.message));
  }
  if (!here()) return;
  const images = h("div", { "aria-live": "polite" }, h("p.note", {}, t("choose_cell")));
  part.replaceChildren(title, h("p.note", {}, t("confusion_lead", { images: whole(found.images), split: t(`${found.split}_images`), error: percent(found.error, 2) })),
    ...(found.outdated ? [h("p.note", {}, t("outdated", { error: percent(found.card_error, 2) }))] : []),
    h("div.confused", {}, found.classes.length > LARGEST ? pairs(found, base, images) : matrix(found, base, images), images));
}

function matrix({ classes, counts }, base, images) {
  const upright = classes.join("").length > 40 ? ".upright" : "";
  const sums = counts.map((row) => Math.max(1, row.reduce((a, b) => a + b)));
  const most = Math.max(...counts.flatMap((row, i) => row.map((n, j) => (i === j ? 0 : n / sums[i]))));
  const cell = (n, i, j) => {
    if (!n) return h("td", {}, h("span.unseen", {}, "0"));
    const strength = i === j ? ".right" : `.m${Math.max(1, Math.ceil((4 * n) / sums[i] / most))}`;
    return h(`td${strength}`, {}, h("button", { type: "button", "aria-pressed": "false", "aria-label": t("cell", { truth: classes[i], predicted: classes[j], n: whole(n) }), onclick: (event) => reveal(event.currentTarget, base, i, j, classes, images) }, whole(n)));
  };
  return h("div.scroll", { tabindex: 0, role: "group", "aria-label": t("confusion") }, h("table.confusion", {},
    h("caption.unseen", {}, t("confusion_caption")),
    h("thead", {}, h("tr", {}, h("td", {}), classes.map((name) => h(`th${upright}`, { scope: "col" }, h("span", {}, name))))),
    h("tbody", {}, counts.map((row, i) => h("tr", {}, h("th", { scope: "row" }, classes[i]), row.map((n, j) => cell(n, i, j)))))));
}

/** Of many classes those that are confused most. */
function pairs({ classes, counts }, base, images) {
  const found = counts.flatMap((row, i) => row.map((n, j) => [n, i, j])).filter(([n, i, j]) => n && i !== j).sort((a, b) => b[0] - a[0]).slice(0, 20);
  return h("table", {}, h("thead", {}, h("tr", {}, [t("truth"), t("predicted"), t("images")].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, found.map(([n, i, j]) => h("tr", {}, h("th", { scope: "row" }, classes[i]), h("td", {}, classes[j]), h("td", {}, h("button.button", { type: "button", "aria-pressed": "false", "aria-label": t("cell", { truth: classes[i], predicted: classes[j], n: whole(n) }), onclick: (event) => reveal(event.currentTarget, base, i, j, classes, images) }, whole(n)))))));
}

async function reveal(button, base, i, j, classes, images) {
  for (const other of document.querySelectorAll(".confused [aria-pressed]")) other.setAttribute("aria-pressed", String(other === button));
  try {
    const found = await get(`${base}/confusion/${i}/${j}`);
    const shown = found.total > found.images.length ? ` ${t("first_n", { n: found.images.length })}` : "";
    images.replaceChildren(h("p.note", {}, t(i === j ? "cell_right" : "cell_wrong", { truth: classes[i], predicted: classes[j], n: whole(found.total) }) + shown), sheet(base, found.images, classes));
  } catch (error) {
    images.replaceChildren(fault(t("failed"), error.message));
  }
}

async function mistakes(base, part, here) {
  const title = h("h2", {}, t("mistakes"));
  try {
    const [found, { classes }] = await Promise.all([get(`${base}/mistakes`), get(`${base}/confusion`)]);
    if (!here()) return;
    part.replaceChildren(title, h("p.note", {}, found.total ? t("mistakes_lead", { n: whole(found.total) }) : t("no_mistakes")), sheet(base, found.images.slice(0, 24), classes));
  } catch {
    part.replaceChildren(); // the confusion says why
  }
}

function sheet(base, images, classes) {
  return h("ul.sheet", {}, images.map(({ index, truth, predicted, probability }) => {
    const wrong = truth !== predicted;
    const image = h("img", { alt: t("image_of", { truth: classes[truth], predicted: classes[predicted] }), loading: "lazy" });
    image.addEventListener("load", () => image.classList.toggle("pixels", image.naturalWidth <= 64));
    const caption = h("div", {}, h(`b${wrong ? ".wrong" : ""}`, {}, classes[predicted]), ` ${percent(probability, 0)}`, wrong && [h("br"), `${t("is")} `, h("b", {}, classes[truth])]);
    picture(`${base}/images/${index}`).then((blob) => { urls.push(image.src = URL.createObjectURL(blob)); }, (error) => image.replaceWith(h("p.note", {}, error.message)));
    return h("li", {}, image, caption);
  }));
}

// ---- its card ---------------------------------------------------------------------------------------------------------

async function facts(base, part) {
  try {
    const found = await get(`${base}/facts`);
    const entries = Object.entries(found.facts).sort(([a], [b]) => rank(a) - rank(b));
    part.replaceChildren(h("h2", {}, t("card")), h("p", {}, found.in_words), ...found.notes.map((note) => h("p.note", {}, note)),
      h("table.facts", {}, h("tbody", {}, entries.map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, known("fact", name)), h("td", { lang: "en" }, value))))));
  } catch (error) {
    part.replaceChildren(h("h2", {}, t("card")), fault(t("failed"), error.message));
  }
}

const rank = (name) => (ORDER.includes(name) ? ORDER.indexOf(name) : ORDER.length);
