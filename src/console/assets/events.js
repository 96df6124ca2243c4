// The list of events: by type and time, newest first.

import { get } from "./api.js";
import { debounce, freshId, h } from "./dom.js";
import { typeName, when } from "./format.js";
import { instant } from "./replay_panel.js";
import { SLOW, to, whisper } from "./page.js";
import { countTeller, filter, listing, table } from "./parts.js";
import { scope } from "./session.js";

export function openEvents(page) {
  const region = h("div", { class: "region" });
  page.follows = true;
  const teller = countTeller("event");
  const suggestions = h("datalist", { id: freshId("types") });
  const control = (name, props) => h("input", { value: page.query.get(name) ?? "", ...props, on: { input: changed } });
  const changed = debounce(300, () => {
    page.remember(entered());
    newest = undefined;
    teller.ask();
    list.restart();
  });
  const type = control("type", { type: "search", list: suggestions.id, placeholder: "order.*", autocomplete: "off", spellcheck: "false" });
  const from = control("from", { type: "datetime-local" });
  const until = control("until", { type: "datetime-local" });
  const entered = () => ({ type: type.value.trim(), from: from.value, until: until.value });
  let newest;
  page.main.append(page.head({ title: "Events" }),
    h("search", { class: "filters" }, filter("Type", type), filter("From", from), filter("To", until), suggestions), region);
  suggest(page, suggestions);
  const list = listing(page, {
    region, what: "the events", path: "events", every: SLOW, limit: 25,
    filters: () => ({ ...scope(), type: type.value.trim(), "createdTime[gte]": instant(from.value), "createdTime[lt]": instant(until.value) }),
    rows: draw,
    empty: () => (Object.values(entered()).some(Boolean)
      ? [h("h2", null, "No event matches"), h("p", null, "A type may end in an asterisk, such as order.* for all types of orders.")]
      : [h("h2", null, "No events yet"), h("p", null, "Events appear here as soon as the application publishes them.")]),
    seen: (rows) => {
      teller.tell(rows);
      if (newest && rows[0] && rows[0].id !== newest) whisper("There are new events.");
      newest = rows[0]?.id ?? newest;
    },
  });
}

function draw(rows) {
  return table({
    caption: "Events", rows, key: (event) => event.id,
    columns: [
      { head: "Type", cell: (event) => h("a", { class: "strong", href: to("events", event.id) }, typeName(event.type)) },
      { head: "Object", cell: (event) => about(event) },
      { head: "Mode", cell: (event) => (event.liveMode === false ? h("span", { class: "tag" }, "Test") : "Live") },
      { head: "Created", cell: (event) => when(event.createdTime) },
      { head: "Id", class: "span", cell: (event) => h("code", { class: "user muted" }, event.id) },
    ],
  });
}

function about(event) {
  if (event.expunged) return h("span", { class: "muted" }, "payload expunged");
  const id = event.data?.object?.id;
  return id === undefined || id === null || typeof id === "object" ? h("span", { class: "muted" }, "–") : h("code", { class: "user" }, String(id));
}

/** Offers the catalogue's types; the list works without. */
async function suggest(page, suggestions) {
  try {
    const { data } = await get("catalogue", {}, page.signal);
    const resources = new Set(data.data.map((one) => one.resource ?? one.type.split(".")[0]));
    suggestions.append(...[...resources].map((name) => `${name}.*`).concat(data.data.map((one) => one.type)).map((value) => h("option", { value })));
  } catch {
    // As said.
  }
}
