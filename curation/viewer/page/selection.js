"use strict";
// What is searched for and selected, in the address behind "#": a reload and a copied address show the same list.
import { at } from "./canvas.js";

// Writes it into the address; nothing is sent, because a browser keeps what stands behind "#".
export function remember(text, given) {
  const all = new URLSearchParams(given);
  if (text) all.set("text", text);
  history.replaceState(null, "", all.size ? `#${all}` : location.pathname + location.search);
}

export const remembered = () => new URLSearchParams(location.hash.slice(1));

// Puts filters and order back into their fields; whether there was any.
export function restore(all) {
  let is_any = false;
  for (const [name, value] of all) {
    const field = name === "sort" ? at("sort") : at("filters").elements.namedItem(name);
    if (!field) continue;
    field.value = value;
    is_any = true;
  }
  return is_any;
}
