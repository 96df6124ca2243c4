// One event: what it says, what changed, and where it went.

import { get, path, post } from "./api.js";
import { debounce, h, lay } from "./dom.js";
import { deliveryList } from "./deliveries.js";
import { ask } from "./dialog.js";
import { choiceField, field } from "./form.js";
import { exactly } from "./format.js";
import { icon } from "./icon.js";
import { changes, compact, find, tryParse } from "./json.js";
import { feed, say, to } from "./page.js";
import { facts, json, panel, table, whole } from "./parts.js";
import { may, named } from "./session.js";

export function openEvent(page, id) {
  const region = h("div", { class: "region" });
  const actions = h("div", { class: "actions" });
  const deliveries = deliveryList(page, { path: path("events", id, "deliveries"), of: () => ({}), shows: "webhook",
    empty: "No webhook asked for this event." });
  page.main.append(page.head({ above: [to("events"), "Events"], title: "Event", actions, below: h("p", { class: "muted user" }, id) }),
    region, panel("Deliveries", { actions: deliveries.filter }, deliveries.region));
  // An event never changes once it is there, so that it is read once.
  feed(page, {
    region, what: "the event", every: 0,
    read: async (signal) => {
      const { data, text } = await get(path("events", id), {}, signal);
      return { event: data, text };
    },
    seen: ({ event }) => {
      page.call(event.type);
      page.h1.classList.add("user");
      lay(actions, may("operate") && !event.expunged && h("button", { type: "button", class: "primary", on: { click: () => deliverAgain(event, deliveries.refresh) } },
        icon("again"), "Deliver again"));
    },
    draw: ({ event, text }) => draw(event, text),
  });
}

function draw(event, text) {
  const tree = tryParse(text);
  const previous = find(tree, "data", "previousAttributes");
  const rows = previous?.entries ? changes(previous, find(tree, "data", "object")) : [];
  return [
    panel("Summary", {}, facts(
      ["Created", exactly(event.createdTime)],
      ["Mode", event.liveMode === false ? h("span", { class: "tag" }, "Test") : "Live"],
      rows.length > 0 && ["Changed attributes", String(rows.length)])),
    rows.length > 0 && panel("What changed", {}, changed(rows)),
    event.expunged
      ? panel("Payload", {}, h("p", null, "The payload was expunged. The event cannot be delivered again."))
      : panel("Payload", {}, h("p", { class: "muted" }, "Indented for reading; values are as they were published."), json(text, "The payload as JSON")),
  ];
}

function changed(rows) {
  return table({
    caption: "Changed attributes", rows, key: (row) => row.path,
    columns: [
      { head: "Attribute", class: "path", cell: (row) => h("code", { class: "user" }, row.path) },
      { head: "Before", class: "before", cell: (row) => value(isNull(row.before) ? undefined : row.before, "not set") },
      { head: "After", class: "after", cell: (row) => value(row.after, "not there") },
    ],
  });
}

/** Before a change, null also stands for an attribute that was not there. */
const isNull = (node) => node?.kind === "word" && node.raw === "null";

const value = (node, nothing) => (node ? h("code", { class: "user value" }, compact(node)) : h("span", { class: "muted" }, nothing));

/** Asks to which webhooks, and delivers the event once more. */
function deliverAgain(event, refresh) {
  const choice = webhookField();
  const whom = choiceField({ name: "whom", label: "To which webhooks", value: "all", change: (value) => { choice.element.hidden = value !== "one"; }, choices: [
    ["all", "All that ask for it", "Those that are enabled and want events of this type now."],
    ["one", "One webhook", "Whatever types it asks for."]] });
  choice.element.hidden = true;
  return ask({
    title: "Deliver the event again", submit: "Deliver again", fields: [whom, choice],
    text: "Receivers get it with the same id, and may take it for a repetition.",
    run: async (values) => {
      await post(path("events", event.id, "replays"), values.whom === "one" ? { webhook: values.webhook } : {});
      say("The event is being delivered again. Its deliveries appear below.");
      refresh();
    },
  });
}

/** A webhook, found by id or address. */
function webhookField() {
  const select = h("select", { size: 6, "aria-label": "Webhooks found" });
  const note = h("p", { class: "hint", role: "status" });
  const look = async () => {
    try {
      const data = await whole("webhooks", { ...named(), search: search.value.trim(), limit: 50 });
      lay(select, data.data.map((webhook) => h("option", { value: webhook.id, key: webhook.id }, `${webhook.address}${webhook.enabled ? "" : " (disabled)"}`)));
      select.selectedIndex = data.data.length > 0 ? 0 : -1;
      note.textContent = data.data.length === 0 ? "No webhook matches." : data.next ? "These are the first 50. Search for others." : "";
    } catch (failure) {
      note.textContent = failure.message;
    }
  };
  const search = h("input", { type: "search", placeholder: "Search by id or address", autocomplete: "off", spellcheck: "false", on: { input: debounce(300, look) } });
  search.addEventListener("keydown", (event) => event.key === "Enter" && event.preventDefault());
  look();
  return field({ name: "webhook", label: "Webhook", control: h("div", { class: "finder" }, search, select, note), read: () => select.value });
}
