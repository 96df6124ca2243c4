// Signs: small drawings beside words, hidden from screen readers because the word is always there.

import { s } from "./dom.js";

const PATHS = {
  check: "M3.5 8.5l3 3 6-7",
  cross: "M4.5 4.5l7 7m0-7l-7 7",
  minus: "M4 8h8",
  dot: "M8 7.9v.2",
  clock: "M8 4.5v3.5l2.5 1.5M14 8A6 6 0 1 1 2 8a6 6 0 0 1 12 0z",
  send: "M2.5 8h9m-3.5-3.5L11.5 8 8 11.5M14 4v8",
  again: "M13 8a5 5 0 1 1-1.5-3.55M13 2v3h-3",
  warn: "M8 2.5l6 10.5H2zM8 6.5v3m0 1.8v.2",
  copy: "M5.5 5.5v-3h8v8h-3m-8-5h8v8h-8z",
  plus: "M8 3v10M3 8h10",
  back: "M9.5 3.5L5 8l4.5 4.5",
  next: "M6.5 3.5L11 8l-4.5 4.5",
};

export function icon(name) {
  return s("svg", { class: "icon", viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true" }, s("path", { d: PATHS[name] }));
}
