// One canvas in a dialog: paths side by side, and the long-CoT form when it is asked for.
export const at = (id) => document.getElementById(id);

// Text is only ever set as text: nothing that a model wrote is parsed as HTML.
export const make = (name, text, kind) => {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
};

export async function ask(path, parameters, signal) {
  const query = new URLSearchParams(parameters);
  let answer;
  try {
    answer = await fetch(`api/${path}?${query}`, { signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("polytrace view does not answer; was it ended?");
  }
  if (!answer.ok) {
    const said = await answer.json().catch(() => ({ error: `HTTP status ${answer.status}` }));
    throw new Error(said.error);
  }
  return answer;
}

export const json = async (...asked) => (await ask(...asked)).json();

const facts = (pairs) => {
  const list = make("dl");
  pairs.forEach(([name, value]) => list.append(make("dt", name), make("dd", value)));
  return list;
};

const folded = (title, pairs) => {
  const box = make("details");
  box.append(make("summary", title), facts(pairs));
  return box;
};

let asked = 0; // the last canvas that was asked for: an earlier answer may come later
let number = 0;
let twin = false;

// A text, and a button that asks for all of it where it is cut.
function text(cut, label) {
  const box = make("div");
  const body = make("div", cut.text, "text");
  body.tabIndex = 0;
  body.setAttribute("role", "group");
  body.setAttribute("aria-label", label);
  box.append(body);
  if (cut.more) {
    const more = make("button", `Show ${cut.more.toLocaleString("en")} more characters`);
    more.type = "button";
    more.addEventListener("click", () => show(number, true));
    box.append(more);
  }
  return box;
}

function path(one, n) {
  const panel = make("section", undefined, "panel");
  const title = make("h3", `path ${n + 1}`);
  title.id = `path-${n + 1}`;
  panel.setAttribute("aria-labelledby", title.id);
  const said = make("p", undefined, "said");
  said.append(make("strong", one.mark, one.kind), ` ${one.answer} · ${one.tokens} tokens`);
  panel.append(title, said);
  one.measured.forEach((fact) => panel.append(make("p", fact, "quiet")));
  panel.append(text(one.text, `text of path ${n + 1}`), folded("provenance", one.provenance));
  return panel;
}

function draw(one) {
  const head = make("section", undefined, "panel");
  head.append(make("h3", "prompt"), text(one.prompt, "prompt"));
  const gold = make("p", "known answer ", "said");
  gold.append(make("strong", one.gold.text));
  head.append(gold);
  const paths = make("div", undefined, "grid");
  paths.append(...one.paths.map(path));
  const foot = make("section", undefined, "panel");
  foot.append(make("h3", "summary"), text(one.summary, "summary"), facts(one.facts));
  foot.append(folded("provenance of the prompt", one.provenance));
  return [head, paths, foot];
}

export async function show(which, whole = false) {
  number = which;
  const mine = ++asked;
  at("which").textContent = `canvas ${(which + 1).toLocaleString("en")}`;
  if (!at("canvas").open) at("canvas").showModal();
  const parameters = whole ? { whole: 1 } : {};
  try {
    const one = await json(`rows/${which}`, parameters);
    const other = twin ? await json(`rows/${which}/long_cot`, parameters) : null;
    if (mine !== asked) return;
    at("fault").hidden = true;
    at("which").textContent = `canvas ${(which + 1).toLocaleString("en")} · ${one.id}`;
    const parts = draw(one);
    if (other) {
      const panel = make("section", undefined, "panel");
      panel.append(make("h3", "long-CoT form"), text(other, "long-CoT form"));
      parts.splice(1, 1, panel);
    }
    at("shown").replaceChildren(...parts);
    at("shown").dataset.number = which;
    at("which").focus();
  } catch (error) {
    if (mine !== asked) return;
    at("fault").textContent = error.message;
    at("fault").hidden = false;
  }
}

export function toggle_twin() {
  twin = !twin;
  at("twin").setAttribute("aria-pressed", String(twin));
  show(number);
}
