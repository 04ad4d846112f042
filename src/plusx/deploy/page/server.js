// What is asked of the server. A fault is an Error whose message is a sentence for the reader.
import { announce } from "/page/element.js";
import { t } from "/page/text.js";

const TRIES = 20; // of what the server is too busy for, or is still loading
let token = null;

export async function get(path) {
  return (await ask(path)).json();
}

/** An image, which is fetched with the token, if there is one. */
export async function picture(path) {
  return (await ask(path)).blob();
}

export async function predict(file, model, topK = 5) {
  const { predictions: [first] } = await send("/v1/predict", file, { model, top_k: topK });
  if (first.error) throw new Error(first.error);
  return first;
}

export const explain = (file, model, name) => send("/v1/explain", file, { model, class: name });

async function send(path, file, fields) {
  const body = new FormData();
  body.append("files", file, file.name || "image");
  for (const [name, value] of Object.entries(fields)) if (value !== null && value !== undefined) body.append(name, value);
  return (await ask(path, { method: "POST", body })).json();
}

async function ask(path, options = {}, tries = TRIES) {
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: token ? { Authorization: `Bearer ${token}` } : {} });
  } catch {
    throw new Error(t("unreachable"));
  }
  if (answer.status === 401) {
    const given = window.prompt(t("token"));
    if (given) {
      token = given;
      return ask(path, options, tries);
    }
  }
  if (answer.ok) return answer;
  const wait = Number(answer.headers.get("Retry-After"));
  if (answer.status === 503 && wait && tries) {
    announce(t("busy"));
    await new Promise((done) => setTimeout(done, 1000 * Math.min(wait, 10)));
    return ask(path, options, tries - 1);
  }
  const said = await answer.json().catch(() => ({}));
  throw Object.assign(new Error(typeof said.error === "string" ? said.error : t("refused", { status: answer.status })), { status: answer.status });
}
