// All replays, with their progress.

import { h } from "./dom.js";
import { learn } from "./names.js";
import { FAST } from "./page.js";
import { countTeller, filter, listing } from "./parts.js";
import { replayItem } from "./replay_item.js";
import { scope } from "./session.js";

export function openReplays(page) {
  const region = h("div", { class: "region" });
  page.follows = true;
  const teller = countTeller("replay");
  let running = page.query.get("running") ?? "";
  const select = h("select", { value: running, on: { change: () => {
    running = select.value;
    page.remember({ running });
    teller.ask();
    list.restart();
  } } }, h("option", { value: "" }, "All"), h("option", { value: "true" }, "Running"));
  page.main.append(page.head({ title: "Replays", below: h("p", { class: "muted" }, "Past events that are delivered again. Start one from the page of a webhook or of an event.") }),
    h("search", { class: "filters" }, filter("State", select)), region);
  const list = listing(page, {
    region, what: "the replays", path: "replays", every: FAST,
    filters: () => ({ ...scope(), running }),
    rows: (rows) => h("ul", { class: "replays boxed" }, rows.map((row) => replayItem(row, () => list.refresh()))),
    empty: () => (running ? [h("h2", null, "No replay is running"), h("p", null, "Choose “All” to see those that have ended.")]
      : [h("h2", null, "No replays yet"), h("p", null, "A replay delivers past events again, as after a fault of a receiver. Open a webhook to start one.")]),
    seen: (rows) => {
      teller.tell(rows);
      learn(rows.map((row) => row.webhook), page.signal).then(() => list.redraw());
    },
  });
}
