"use strict";
// The list: pages of lines, filters, order, a search that streams, and the keyboard.
import { ask, at, json, make, show, toggle_twin } from "./canvas.js";
import { remember, remembered, restore } from "./selection.js";

const GRADES = { right: "✓", wrong: "✗", unread: "?" };
let state = { rows: 0, indexed: 0, measures: [] };
let rows = [];
let found = []; // of a search: where each of the rows holds the text
let current = 0; // the line that has the focus or had it last
let cursors = [0]; // where the pages so far began, the one that is shown last
let next = null;
let controller = null; // of the request under way
let searched = ""; // what is searched for; "": the list
let is_ready = false; // all filters can be chosen

const count = (n) => n.toLocaleString("en");
const columns = () => state.measures.filter((one) => one.key !== "right");

function fault(message) {
  at("error").textContent = message;
  at("error").hidden = !message;
}

function chosen() {
  const given = Object.fromEntries([...new FormData(at("filters"))].filter(([, value]) => value));
  if (given.grades === "any") delete given.grades;
  if (at("sort").value && !searched) {
    given.sort = at("sort").value;
    if (at("direction").getAttribute("aria-pressed") === "true") given.descending = 1;
  }
  return given;
}

function line(row, place, found) {
  const made = make("tr");
  made.setAttribute("role", "row");
  made.tabIndex = place === current ? 0 : -1;
  made.dataset.place = place;
  const cell = (text, kind, label) => {
    const box = make("td", text, kind);
    box.setAttribute("role", "gridcell");
    if (label) box.dataset.label = label;
    made.append(box);
    return box;
  };
  cell(count(row.number + 1), "n");
  const prompt = cell(row.prompt, "prompt");
  if (found) prompt.append(make("span", `${found.where}: ${found.excerpt}`, "excerpt"));
  cell(row.gold, "gold", "answer");
  const grades = cell(undefined, "n");
  const right = row.grades.filter((one) => one === "right").length;
  grades.setAttribute("aria-label", `${right} of ${row.grades.length} paths right`);
  row.grades.forEach((one) => grades.append(make("span", GRADES[one], one), " "));
  columns().forEach((one) => cell(row.values[one.key] ?? "–", "n", one.short));
  return made;
}

function draw() {
  const names = ["canvas", "prompt", "known answer", "paths", ...columns().map((one) => one.short)];
  at("head").replaceChildren(...names.map((name, n) => {
    const box = make("th", name, n === 0 || n > 2 ? "n" : "");
    box.setAttribute("role", "columnheader");
    box.scope = "col";
    return box;
  }));
  at("lines").replaceChildren(...rows.map((row, n) => line(row, n, found[n])));
}

function select(place, focus = true) {
  current = place;
  at("lines").querySelectorAll("tr").forEach((one, n) => { one.tabIndex = n === place ? 0 : -1; });
  if (focus) at("lines").children[place]?.focus();
}

function paging() {
  at("previous").disabled = cursors.length < 2;
  at("next").disabled = next === null;
}

// Shows the page that begins at the last cursor; `place` is the line to focus, if any.
async function load(place = null) {
  controller?.abort();
  controller = new AbortController();
  const { signal } = controller;
  fault("");
  try {
    if (searched) await search(signal);
    else await list(signal);
    if (signal.aborted) return;
    if (place !== null && rows.length) select(place < 0 ? rows.length - 1 : place);
  } catch (error) {
    if (error.name !== "AbortError") { fault(error.message); at("status").textContent = ""; }
  } finally {
    if (!signal.aborted) at("stop").hidden = true;
  }
}

async function list(signal) {
  const wanted = chosen();
  const waits = Object.keys(wanted).length && state.indexed < state.rows;
  at("status").textContent = waits ? "reading the numbers of all canvases …" : "loading …";
  const page = await json("rows", { ...wanted, after: cursors.at(-1) }, signal);
  rows = page.rows;
  found = [];
  next = page.next;
  current = 0;
  draw();
  paging();
  const filtered = page.total < state.rows ? ` that match, of ${count(state.rows)}` : "";
  at("status").textContent = page.total
    ? `${count(page.after + 1)} to ${count(page.after + rows.length)} of ${count(page.total)} canvases${filtered}`
    : `no canvas of ${count(state.rows)} matches`;
}

async function search(signal) {
  rows = [];
  next = null;
  current = 0;
  found = [];
  draw();
  paging();
  at("stop").hidden = false;
  at("status").textContent = "searching …";
  const answer = await ask("search", { ...chosen(), text: searched, after: cursors.at(-1) }, signal);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let is_done = false;
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const step of lines.map((one) => JSON.parse(one))) {
      step.rows.forEach((row, n) => {
        at("lines").append(line(row, rows.length, step.found[n]));
        rows.push(row);
        found.push(step.found[n]);
      });
      const all = step.done && step.next === null;
      const part = all ? "all" : `the first ${count(step.read)} of`;
      const more = step.done && step.next !== null ? "; the next page searches on" : "";
      at("status").textContent = `${count(rows.length)} found on this page, in ${part} ${count(step.of)} canvases${more}`;
      if (step.error) throw new Error(step.error);
      if (step.done) { is_done = true; next = step.next; }
    }
  }
  if (!is_done) throw new Error("the search was cut off; look at the terminal of polytrace view");
  paging();
}

function begin(text = searched, place = null) {
  searched = text;
  at("sort").disabled = Boolean(searched);
  at("direction").disabled = Boolean(searched) || !at("sort").value;
  cursors = [0];
  if (is_ready) remember(searched, chosen());
  return load(place);
}

function turn(by, place = 0) {
  if (by > 0 && next !== null) cursors.push(next);
  else if (by < 0 && cursors.length > 1) cursors.pop();
  else return Promise.resolve();
  return load(place);
}

async function move(by) {
  const place = current + by;
  if (place >= 0 && place < rows.length) select(place, !at("canvas").open);
  else await turn(by, by > 0 ? 0 : -1);
  if (at("canvas").open && rows[current]) await show(rows[current].number);
}

function stop() {
  if (at("stop").hidden) return false;
  controller.abort();
  at("stop").hidden = true;
  at("status").textContent = `stopped; ${count(rows.length)} found so far`;
  return true;
}

function toggle(open = at("filters").hidden) {
  at("filters").hidden = !open;
  at("toggle").setAttribute("aria-expanded", String(open));
  (open ? at("grades") : at("toggle")).focus();
}

function direct(down) {
  at("direction").setAttribute("aria-pressed", String(down));
  at("direction").textContent = down ? "highest first" : "lowest first";
}

function measures() {
  at("sort").append(...state.measures.map((one) => {
    const option = make("option", one.label);
    option.value = one.key;
    return option;
  }));
  at("ranges").append(...state.measures.map((one) => {
    const group = make("fieldset");
    group.append(make("legend", one.label));
    [["min", "from", one.low], ["max", "to", one.high]].forEach(([end, word, bound]) => {
      const label = make("label", `${word} `);
      const input = make("input");
      Object.assign(input, { type: "number", step: "any", name: `${one.key}_${end}`, placeholder: bound });
      input.setAttribute("aria-label", `${one.label}, ${word}`);
      label.append(input);
      group.append(label);
    });
    return group;
  }));
}

async function follow() {
  for (;;) {
    state = await json("state");
    if (state.error) { fault(state.error); return; }
    if (state.measures.length || state.indexed >= state.rows && !state.rows) return;
    const share = Math.floor(100 * state.indexed / Math.max(1, state.rows));
    at("toggle").textContent = `Filters (reading: ${share} %)`;
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
}

at("find").addEventListener("submit", (event) => {
  event.preventDefault();
  begin(at("text").value.trim() ? at("text").value : "", 0);
});
at("text").addEventListener("search", () => { if (!at("text").value && searched) begin(""); });
at("filters").addEventListener("submit", (event) => { event.preventDefault(); begin(searched, 0); });
at("filters").addEventListener("reset", () => setTimeout(() => begin(), 0));
at("sort").addEventListener("change", () => begin());
at("direction").addEventListener("click", () => {
  direct(at("direction").getAttribute("aria-pressed") !== "true");
  begin();
});
at("toggle").addEventListener("click", () => toggle());
at("stop").addEventListener("click", stop);
at("ask").addEventListener("click", () => at("help").showModal());
at("next").addEventListener("click", () => turn(1));
at("previous").addEventListener("click", () => turn(-1));
at("before").addEventListener("click", () => move(-1));
at("after").addEventListener("click", () => move(1));
at("twin").addEventListener("click", toggle_twin);
at("close").addEventListener("click", () => at("canvas").close());
at("canvas").addEventListener("close", () => { // comes late: who has gone on to a field stays there
  select(current, !document.activeElement.closest("input, select"));
});
at("go").addEventListener("submit", async (event) => {
  event.preventDefault();
  const wanted = at("number").valueAsNumber - 1;
  if (!(wanted >= 0)) return;
  if (!searched && !Object.keys(chosen()).length && wanted < state.rows) {
    cursors = wanted ? [0, wanted] : [0]; // so that the list goes on from there
    await load(0);
  }
  show(wanted);
});
at("lines").addEventListener("click", (event) => {
  const place = Number(event.target.closest("tr").dataset.place);
  select(place);
  show(rows[place].number);
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || at("help").open) return;
  const field = event.target.closest("input, select");
  const open = at("canvas").open;
  if (event.key === "Escape" && !open) {
    if (!stop() && field) select(current);
    return;
  }
  if (field) return;
  const is_line = event.target.closest("tbody tr") || event.target === document.body;
  const actions = {
    j: () => move(1), k: () => move(-1),
    n: () => turn(1), p: () => turn(-1),
    "?": () => at("help").showModal(),
  };
  if (open) {
    delete actions.n; delete actions.p;
    actions.l = toggle_twin;
  } else {
    Object.assign(actions, { "/": () => at("text").focus(), f: () => toggle() });
    if (is_line) {
      Object.assign(actions, { ArrowDown: actions.j, ArrowUp: actions.k });
      if (rows[current]) actions.Enter = () => { select(current); show(rows[current].number); };
    }
  }
  if (actions[event.key]) { event.preventDefault(); actions[event.key](); }
});

try {
  state = await json("state");
  document.title = `${state.name}: polytrace view`;
  at("name").textContent = state.name;
  at("notice").textContent = state.notice;
  at("notice").hidden = !state.notice;
  const before = remembered();
  at("text").value = before.get("text") ?? "";
  await begin(at("text").value.trim() ? at("text").value : "", 0);
  await follow();
  at("toggle").textContent = "Filters";
  measures();
  is_ready = true;
  if (restore(before)) {
    direct(before.has("descending"));
    at("filters").hidden = false;
    at("toggle").setAttribute("aria-expanded", "true");
    await begin();
  }
  draw();
  select(current, document.activeElement === document.body);
} catch (error) {
  fault(error.message);
}
