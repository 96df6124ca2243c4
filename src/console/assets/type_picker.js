// The choice of event types: boxes of the catalogue with a search, and patterns as text; text alone without one.

import { h, freshId } from "./dom.js";
import { counted } from "./format.js";
import { Complaint, areaField, field } from "./form.js";

const PATTERNS = "One per line: a type such as order.accepted, order.* for all of one resource, or * for all, now and later.";

/** The fields of the choice: their `read`s give `types` together by `typesOf`. */
export function typeFields(catalogue, chosen = []) {
  if (catalogue.length === 0) {
    return [areaField({ name: "types", label: "Event types", hint: PATTERNS, value: chosen.join("\n"), rows: 5, required: true, read: demanded })];
  }
  const known = new Set(catalogue.map((one) => one.type));
  const others = chosen.filter((type) => !known.has(type));
  const patterns = areaField({ name: "patterns", label: "Patterns and other types", hint: PATTERNS, value: others.join("\n"), rows: 2, read: lines });
  return [picker(catalogue, new Set(chosen), patterns), patterns];
}

export const typesOf = (values) => [...(values.types ?? []), ...(values.patterns ?? [])];

const lines = (text) => [...new Set(text.split(/[\s,]+/).filter(Boolean))];

function demanded(text) {
  const types = lines(text);
  if (types.length === 0) throw new Complaint("name at least one event type");
  return types;
}

function picker(catalogue, chosen, patterns) {
  const rows = catalogue.map((one) => row(one, chosen.has(one.type)));
  const count = h("p", { class: "count", role: "status" });
  const all = h("input", { type: "checkbox", id: freshId("all") });
  const none = h("p", { class: "muted", hidden: true }, "No type matches.");
  const search = h("input", { type: "search", placeholder: "Search types", "aria-label": "Search the event types", autocomplete: "off", spellcheck: "false" });
  const shown = () => rows.filter(({ element }) => !element.hidden);
  const tally = () => {
    const ticked = rows.filter(({ box }) => box.checked).length;
    count.textContent = `${ticked} of ${rows.length} selected`;
    const seen = shown();
    const of = seen.filter(({ box }) => box.checked).length;
    all.checked = seen.length > 0 && of === seen.length;
    all.indeterminate = of > 0 && of < seen.length;
  };
  const look = () => {
    const text = search.value.trim().toLowerCase();
    for (const { element, words } of rows) element.hidden = !words.includes(text);
    none.hidden = shown().length > 0;
    tally();
  };
  search.addEventListener("input", look);
  // Enter in the search would send the form.
  search.addEventListener("keydown", (event) => event.key === "Enter" && event.preventDefault());
  all.addEventListener("change", () => {
    for (const { box } of shown()) box.checked = all.checked;
    tally();
  });
  const list = h("div", { class: "type-list", on: { change: tally } }, rows.map(({ element }) => element), none);
  const control = h("div", { class: "picker" },
    h("div", { class: "picker-head" }, search, h("label", { class: "all", for: all.id }, all, "Select all shown"), count), list);
  tally();
  return field({
    name: "types", label: "Event types", control, group: true,
    hint: "Types that join the catalogue later are not included; a pattern below includes them.",
    read: () => {
      const types = rows.filter(({ box }) => box.checked).map(({ type }) => type);
      if (types.length === 0 && patterns.read().length === 0) throw new Complaint(`choose at least one of ${counted(rows.length, "type")}, or enter a pattern`);
      return types;
    },
  });
}

function row(one, checked) {
  const box = h("input", { type: "checkbox", checked });
  const element = h("label", { class: "type" }, box, h("span", null, h("code", { class: "user" }, one.type), ...marks(one),
    one.description && h("span", { class: "user hint" }, one.description)));
  return { type: one.type, box, element, words: `${one.type} ${one.description ?? ""} ${(one.aliases ?? []).join(" ")}`.toLowerCase() };
}

/** The marks of a type: key (recommended to all), deprecated. */
export const marks = (one) => [
  one.key && h("span", { class: "tag key", title: "Recommended to every integration" }, "Key"),
  one.deprecated && h("span", { class: "tag old" }, "Deprecated"),
];
