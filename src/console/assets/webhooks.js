// The list of webhooks: found by id or address, each with how it fares.

import { get, path } from "./api.js";
import { debounce, h } from "./dom.js";
import { counted, enabled, percent, reason, state, when } from "./format.js";
import { icon } from "./icon.js";
import { eachOf, remember } from "./names.js";
import { SLOW, to } from "./page.js";
import { countTeller, filter, listing, table, whole } from "./parts.js";
import { may, named, scope } from "./session.js";

const STALE = 30_000;

export function openWebhooks(page) {
  const region = h("div", { class: "region" });
  page.follows = true;
  const health = new Map();
  const teller = countTeller("webhook");
  const filters = { search: page.query.get("search") ?? "", enabled: page.query.get("enabled") ?? "" };
  const set = (name, value) => {
    filters[name] = value;
    page.remember(filters);
    teller.ask();
    list.restart();
  };
  const search = h("input", { type: "search", value: filters.search, placeholder: "Id or address", autocomplete: "off", spellcheck: "false",
    on: { input: debounce(300, () => set("search", search.value.trim())) } });
  const status = h("select", { value: filters.enabled, on: { change: () => set("enabled", status.value) } },
    h("option", { value: "" }, "All"), h("option", { value: "true" }, "Enabled"), h("option", { value: "false" }, "Disabled"));
  const clear = () => {
    search.value = "";
    status.value = "";
    filters.enabled = "";
    set("search", "");
    search.focus();
  };
  page.main.append(
    page.head({ title: "Webhooks", actions: may("manage") && creator("primary button") }),
    h("search", { class: "filters" }, filter("Search", search), filter("Status", status)),
    region);
  const list = listing(page, {
    region, what: "the webhooks", path: "webhooks", every: SLOW,
    filters: () => ({ ...scope(), ...filters }),
    rows: (rows) => draw(rows, health),
    empty: () => (filters.search || filters.enabled ? nothingFound(clear) : nothingYet()),
    seen: (rows) => {
      teller.tell(rows);
      fill(page, rows, health, () => list.redraw());
    },
  });
}

const creator = (look) => h("a", { class: look, href: to("webhooks", "new") }, icon("plus"), "Create webhook");

function nothingYet() {
  return [
    h("h2", null, "No webhooks yet"),
    h("p", null, "A webhook sends events, as they happen, to a URL of yours."),
    may("manage")
      ? [h("p", null, "Create one, choose the event types that it wants, and enable it."), h("p", null, creator("primary button"))]
      : h("p", null, "Ask somebody who manages webhooks to create one."),
  ];
}

const nothingFound = (clear) => [
  h("h2", null, "No webhook matches"),
  h("p", null, "The search looks for a part of the id or the address."),
  h("p", null, h("button", { type: "button", on: { click: clear } }, "Show all webhooks")),
];

function draw(rows, health) {
  return table({
    caption: "Webhooks", rows, key: (webhook) => webhook.id,
    columns: [
      { head: "Address", class: "wide", cell: (webhook) => [
        h("a", { class: "user strong", href: to("webhooks", webhook.id) }, webhook.address),
        webhook.liveMode === false && h("span", { class: "tag" }, "Test"),
        webhook.description && h("span", { class: "user under" }, webhook.description)] },
      { head: "Status", cell: (webhook) => h("span", null, enabled(webhook),
        !webhook.enabled && webhook.disabledReason && h("span", { class: "under" }, reason(webhook.disabledReason))) },
      { head: "Event types", cell: (webhook) => types(webhook.types) },
      { head: "Last delivery", cell: (webhook) => last(health.get(webhook.id)) },
      { head: "Success, 24 h", class: "figure", cell: (webhook) => success(health.get(webhook.id)) },
    ],
  });
}

function types(all) {
  const shown = all.slice(0, 2).map((type) => h("code", { class: "user block-line" }, type));
  const more = all.length - 2;
  return h("span", { title: all.slice(0, 60).join("\n") }, shown, more > 0 && h("span", { class: "muted" }, `and ${more} more`));
}

function last(known) {
  if (!known) return h("span", { class: "muted" }, "…");
  if (known.failed) return h("span", { class: "muted" }, "unknown");
  if (!known.last) return h("span", { class: "muted" }, "none yet");
  return h("span", null, state(known.last.state), h("span", { class: "under" }, when(known.last.endedTime ?? known.last.publishedTime)));
}

function success(known) {
  if (!known) return h("span", { class: "muted" }, "…");
  if (known.failed || known.rate === null) return h("span", { class: "muted" }, "–", h("span", { class: "unseen" }, " no attempts"));
  return h("span", null, known.rate < 0.95 && h("span", { class: "bad-text" }, icon("warn")), percent(known.rate),
    h("span", { class: "under" }, counted(known.attempts, "attempt")));
}

/** Reads how each webhook of the page fares, a few at a time, and not again for a while. */
function fill(page, rows, health, redraw) {
  rows.forEach(remember);
  const old = rows.filter(({ id }) => !(health.get(id)?.asked > Date.now() - STALE));
  for (const { id } of old) if (health.has(id)) health.get(id).asked = Date.now();
  return eachOf(old, async ({ id }) => {
    if (page.closed) return;
    health.set(id, { asked: Date.now(), ...(await read(id, named(), page.signal)) });
    redraw();
  });
}

async function read(id, of, signal) {
  try {
    const [deliveries, statistics] = await Promise.all([
      whole("deliveries", { webhook: id, ...of, limit: 1 }, signal),
      get(path("webhooks", id, "statistics"), {}, signal),
    ]);
    return { last: deliveries.data[0], rate: statistics.data.successRate, attempts: statistics.data.attempts };
  } catch {
    return { failed: true };
  }
}
