"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
// Text is only ever set as text: nothing that a model wrote is parsed as HTML.
const make = (name, text, kind) => {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
};

let shown = 0;
let found = data.canvases.map((_, n) => n);

function canvas() {
  const box = at("canvas");
  box.replaceChildren();
  at("which").textContent = found.length ? `${shown + 1} of ${found.length}` : "none holds that";
  if (!found.length) return;
  const one = data.canvases[found[shown]];
  const head = make("div", undefined, "panel");
  head.append(make("div", one.prompt, "text"));
  head.append(make("p", `known answer ${one.gold} · ${one.origin} · ${one.id}`, "quiet"));
  const paths = make("div", undefined, "grid");
  paths.style.margin = "1rem 0";
  one.paths.forEach((path, n) => {
    const panel = make("section", undefined, "panel");
    panel.append(make("h3", `path ${n + 1}`));
    const said = make("p", undefined, "quiet");
    said.append(make("strong", path.mark, path.is_right ? "right" : "wrong"));
    said.append(` ${path.answer} · ${path.tokens} tokens`);
    panel.append(said, make("div", path.text, "text"));
    paths.append(panel);
  });
  const foot = make("div", undefined, "panel");
  foot.append(make("h3", "summary"), make("div", one.summary, "text"));
  if (one.seqdep) foot.append(make("p", `SeqDep, nats a token: ${one.seqdep}`, "quiet"));
  box.append(head, paths, foot);
}

function go(by) {
  if (!found.length) return;
  shown = (shown + by + found.length) % found.length;
  canvas();
}

if (data.canvases.length) {
  at("before").addEventListener("click", () => go(-1));
  at("next").addEventListener("click", () => go(1));
  at("find").addEventListener("input", () => {
    const wanted = at("find").value.toLowerCase();
    const holds = (text) => text.toLowerCase().includes(wanted);
    found = data.canvases.flatMap((one, n) =>
      [one.id, one.prompt, one.summary, ...one.paths.map((path) => path.text)].some(holds) ? [n] : []);
    shown = 0;
    canvas();
  });
  at("canvas").addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by) { event.preventDefault(); go(by); }
  });
  canvas();
}

if (data.decodes) {
  let timer = null;
  const step = at("step");
  data.decodes.forEach((one, n) => {
    const option = make("option", `${one.system}: problem ${one.problem}, ${one.mark}`);
    option.value = n;
    at("decode").append(option);
  });
  const fill = () => {
    const one = data.decodes[at("decode").value];
    const now = Number(step.value);
    const commit = new Map();
    one.position.forEach((place, k) => {
      const end = one.taken_back[k];
      if (one.step[k] < now && (end === null || end >= now)) commit.set(place, k);
    });
    at("at").textContent = `${now} of ${step.max} · known answer ${one.gold}`;
    const frame = at("frame");
    frame.replaceChildren();
    one.slots.forEach((slot, n) => {
      const panel = make("section", undefined, "panel");
      const last = one.slots.length > 1 && n === one.slots.length - 1;
      panel.append(make("h3", one.slots.length === 1 ? "text" : last ? "summary" : `path ${n + 1}`));
      const cells = make("div", undefined, "cells");
      slot.forEach((place) => {
        const k = commit.get(place);
        const is_there = k !== undefined;
        const cell = make("span", is_there ? (one.is_fill[k] ? "·" : one.text[k]) : "□");
        cell.className = !is_there ? "mask" : one.is_fill[k] ? "fill" : "";
        if (is_there && one.step[k] === now - 1) cell.classList.add("new");
        cell.title = is_there ? `step ${one.step[k] + 1}, confidence ${one.confidence[k]}` : "masked";
        cells.append(cell);
      });
      panel.append(cells);
      frame.append(panel);
    });
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    at("play").textContent = "play";
    at("play").setAttribute("aria-pressed", "false");
  };
  const choose = () => {
    const one = data.decodes[at("decode").value];
    stop();
    step.max = 1 + one.step.reduce((most, n) => Math.max(most, n), 0);
    step.value = step.max;
    fill();
  };
  at("decode").addEventListener("change", choose);
  step.addEventListener("input", () => { stop(); fill(); });
  at("play").addEventListener("click", () => {
    if (timer) { stop(); return; }
    if (Number(step.value) >= Number(step.max)) step.value = 0;
    at("play").textContent = "stop";
    at("play").setAttribute("aria-pressed", "true");
    timer = setInterval(() => {
      step.value = Number(step.value) + 1;
      fill();
      if (Number(step.value) >= Number(step.max)) stop();
    }, Math.max(40, 6000 / Number(step.max)));
  });
  choose();
}
