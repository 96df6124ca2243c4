// Parts that several pages are made of: tables, lists in pages, panels, blocks of code.

import { h, lay, freshId } from "./dom.js";
import { get } from "./api.js";
import { feed, whisper } from "./page.js";
import { pieces, tryParse } from "./json.js";
import { icon } from "./icon.js";

// Colouring each word of a long text costs more than it tells.
const COLOURED = 60_000;

// The API looks at so many rows for one page, and says where it ended. Further pages that one is put together from:
const FOLLOWED = 8;

/** A table that becomes a stack of cards where it is narrow. Columns: `{head, cell, class}`; the first heads its row. */
export function table({ caption, columns, rows, key }) {
  return h("table", { class: "rows", role: "table" },
    h("caption", { class: "unseen" }, caption),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" },
      columns.map((column) => h("th", { scope: "col", role: "columnheader", class: column.class }, column.head)))),
    h("tbody", { role: "rowgroup" }, rows.map((row) => h("tr", { role: "row", key: key(row) }, columns.map((column, at) =>
      h(at === 0 ? "th" : "td", {
        scope: at === 0 ? "row" : null, role: at === 0 ? "rowheader" : "cell", class: column.class,
        "data-label": at === 0 ? null : column.head,
      }, column.cell(row)))))));
}

/**
 * A list of the API in pages, read again and again. `filters` gives the present ones; `rows` draws them; `empty`
 * what is said when there are none. Returns how to begin anew (after another filter) and to read at once.
 */
export function listing(page, { region, what, path, filters, limit = 20, every, rows, empty, seen }) {
  let place = {};
  const go = (cursor) => {
    place = cursor;
    list.refresh();
    region.scrollIntoView({ block: "nearest" });
  };
  const list = feed(page, {
    region, what, every,
    read: async (signal) => {
      const data = await whole(path, { ...filters(), limit, ...place }, signal);
      // The page before all others is the first one, which grows.
      if (place.endingBefore && !data.previous) place = {};
      return data;
    },
    seen: (value) => seen?.(value.data),
    draw: (value) => {
      const first = !place.startingAfter && !place.endingBefore;
      const nothing = value.data.length === 0;
      if (nothing && first && !value.next) return h("div", { class: "empty", key: "empty" }, empty());
      return [nothing ? h("div", { class: "empty", key: "empty" }, further(value)) : rows(value.data), turning(value, first, go)];
    },
  });
  return {
    ...list,
    refresh: list.refresh,
    restart() {
      place = {};
      list.refresh();
    },
    get rows() { return list.value?.data ?? []; },
  };
}

/** A page of the API, with what the pages behind it have as long as it is short. */
export async function whole(path, query, signal) {
  const { data } = await get(path, query, signal);
  const back = Boolean(query.endingBefore);
  for (let more = 0; more < FOLLOWED && data.data.length < query.limit && (back ? data.previous : data.next); more++) {
    const from = back ? { endingBefore: data.previous } : { startingAfter: data.next };
    const { data: next } = await get(path, { ...query, startingAfter: null, endingBefore: null, ...from, limit: query.limit - data.data.length }, signal);
    data.data = back ? [...next.data, ...data.data] : [...data.data, ...next.data];
    if (back) data.previous = next.previous;
    else data.next = next.next;
  }
  return data;
}

/** What is said where so much was looked through, and nothing of it fits. */
const further = (value) => [
  h("h2", null, "Nothing found so far"),
  h("p", null, value.next ? "A large part was looked through, and nothing in it matches. Older looks further." : "Nothing older matches."),
];

function turning(value, first, go) {
  if (first && !value.next) return null;
  // A button that leads nowhere keeps its place (and the focus), and says so.
  const turn = (text, sign, cursor) => h("button", { type: "button", class: "turn", "aria-disabled": cursor ? null : "true",
    on: { click: () => cursor && go(cursor) } }, sign === "back" && icon("back"), text, sign === "next" && icon("next"));
  return h("nav", { class: "turning", "aria-label": "Pages of the list", key: "turning" },
    turn("Newest", null, first ? null : {}),
    turn("Newer", "back", !first && value.previous && { endingBefore: value.previous }),
    turn("Older", "next", value.next && { startingAfter: value.next }));
}

/** Says how many rows there are, once after each change of the filters. */
export function countTeller(one, several = `${one}s`) {
  let asked = false;
  return {
    ask: () => { asked = true; },
    tell: (rows) => {
      if (asked) whisper(rows.length === 0 ? `No ${several} found.` : `${rows.length} ${rows.length === 1 ? one : several} shown.`);
      asked = false;
    },
  };
}

/** A part of a page with a heading, which no other part of the page has. */
export function panel(title, { actions, ...props } = {}, ...children) {
  const id = `panel-${title.replace(/\W+/g, "-").toLowerCase()}`;
  return h("section", { class: "panel", "aria-labelledby": id, ...props },
    h("header", null, h("h2", { id }, title), actions), children);
}

/** Terms and what stands for them: `[term, node or text]`; what is null is left out. */
export function facts(...pairs) {
  return h("dl", { class: "facts" }, pairs.filter((pair) => pair && pair[1] !== null && pair[1] !== undefined)
    .map(([term, value]) => h("div", { key: term }, h("dt", null, term), h("dd", null, value))));
}

/** A choice between a few, in a row. */
export function segments({ name, legend, value, choices, change }) {
  const group = freshId(name);
  return h("fieldset", { class: "segments", keep: true }, h("legend", null, legend), h("div", null, choices.map(([choice, text]) =>
    h("label", null, h("input", { type: "radio", name: group, value: choice, checked: choice === value, on: { change: () => change(choice) } }),
      h("span", null, text)))));
}

/** A labelled control of a row of filters. */
export function filter(label, control) {
  control.id ||= freshId("filter");
  return h("div", { class: "filter" }, h("label", { for: control.id }, label), control);
}

/** Text that somebody else wrote, wrapped and scrollable. */
export function block(text, label) {
  return h("pre", { class: "block user", tabindex: "0", role: "region", "aria-label": label }, text);
}

/** JSON, indented and coloured, its numbers as they were written; any other text as it is. */
export function json(text, label) {
  const tree = tryParse(text);
  return block(tree ? coloured(tree) : text, label);
}

/** A tree of `json.js` as a block. */
export const treeBlock = (tree, label) => block(coloured(tree), label);

function coloured(tree) {
  const parts = pieces(tree);
  const length = parts.reduce((sum, [, text]) => sum + text.length, 0);
  if (length > COLOURED) return parts.map(([, text]) => text).join("");
  return parts.map(([kind, text]) => (kind ? h("span", { class: `json-${kind}` }, text) : text));
}

/** A fold whose inside is made when it is first opened. */
export function fold(summary, make, props) {
  const inside = h("div", { class: "fold", keep: true });
  return h("details", { ...props, on: { toggle() { if (this.open && !inside.hasChildNodes()) lay(inside, make()); } } },
    h("summary", null, summary), inside);
}
