// Deliveries in lists: of a webhook, or of an event.

import { h } from "./dom.js";
import { STATES, duration, outcome, state, typeName, when } from "./format.js";
import { learn, nameOf } from "./names.js";
import { FAST, to, whisper } from "./page.js";
import { filter, listing, table } from "./parts.js";

/** A list of deliveries with a filter by state. `of` gives what they have in common, `shows` what differs. */
export function deliveryList(page, { path, of, shows, empty, limit = 10 }) {
  const region = h("div", { class: "region" });
  let chosen = "";
  let newest;
  const select = h("select", { on: { change: () => {
    chosen = select.value;
    newest = undefined;
    list.restart();
  } } }, h("option", { value: "" }, "All"), Object.entries(STATES).map(([name, [, , text]]) => h("option", { value: name }, text)));
  const list = listing(page, {
    region, what: "the deliveries", path, limit, every: FAST,
    filters: () => ({ ...of(), state: chosen }),
    seen: (rows) => {
      if (newest && rows[0] && rows[0].id !== newest) whisper("There are new deliveries.");
      newest = rows[0]?.id ?? newest;
      if (shows === "webhook") learn(rows.map((row) => row.webhookId), page.signal).then(() => list.redraw());
    },
    rows: (rows) => draw(rows, shows),
    empty: () => h("p", null, chosen ? "No delivery is in this state." : empty),
  });
  return { filter: filter("State", select), region, refresh: list.refresh };
}

function draw(rows, shows) {
  const named = shows === "webhook" ? { head: "Delivery to", text: (row) => nameOf(row.webhookId) }
    : { head: "Delivery of", text: (row) => typeName(row.type) };
  return table({
    caption: "Deliveries", rows, key: (row) => row.id,
    columns: [
      { head: named.head, cell: (row) => h("a", { class: "user", href: to("deliveries", row.id) }, named.text(row)) },
      { head: "State", cell: (row) => state(row.state) },
      { head: "Latest answer", class: "latest", cell: (row) => answer(row) },
      { head: "Attempts", class: "figure", cell: (row) => String(row.attempts?.length ?? 0) },
      { head: "Published", cell: (row) => when(row.publishedTime) },
    ],
  });
}

function answer(row) {
  const latest = row.attempts?.at(-1);
  if (!latest) return h("span", { class: "muted" }, row.state === "waiting" ? "not tried yet" : "–");
  return h("span", null, outcome(latest), h("span", { class: "muted" }, ` in ${duration(latest.latencyMillis)}`),
    row.state === "waiting" && row.dueTime && h("span", { class: "under" }, "next ", when(row.dueTime)));
}
