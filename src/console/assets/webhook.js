// One webhook: how it fares, what it was sent, how it is set, and what may be done with it.

import { get, path } from "./api.js";
import { h, lay } from "./dom.js";
import { deliveryList } from "./deliveries.js";
import { duration, enabled, exactly } from "./format.js";
import { healthPanel } from "./health.js";
import { icon } from "./icon.js";
import { pretty, tryParse, find } from "./json.js";
import { remember } from "./names.js";
import { FAST, feed, to } from "./page.js";
import { block, facts, panel } from "./parts.js";
import { replayPanel } from "./replay_panel.js";
import { hasSeveralAccounts, lookInto, may, named } from "./session.js";
import { actionsOf, enable } from "./webhook_actions.js";
import { TestPanel } from "./test_panel.js";

export function openWebhook(page, id) {
  const actions = h("div", { class: "actions" });
  const below = h("div", { class: "below" });
  const notice = h("div", { class: "region" });
  const settings = h("div", { class: "region" });
  let home;
  const own = () => ({ webhook: id, ...named(home) });
  const deliveries = deliveryList(page, { path: "deliveries", of: own, shows: "type", empty: "Nothing has been sent to this webhook yet." });
  const health = healthPanel(page, { title: "Health", path: path("webhooks", id, "statistics") });
  const test = new TestPanel(page, id, () => {
    deliveries.refresh();
    health.refresh();
  });
  const parts = h("div", { class: "columns" },
    h("div", null, health.element, panel("Deliveries", { actions: deliveries.filter }, deliveries.region)),
    h("div", null, panel("Settings", {}, settings), replayPanel(page, id, own)));
  page.main.append(page.head({ above: [to("webhooks"), "Webhooks"], title: "Webhook", actions, below }), notice, test.element, parts);
  const reader = feed(page, {
    region: notice, what: "the webhook", every: FAST,
    read: async (signal) => {
      try {
        const { data, text } = await get(path("webhooks", id), {}, signal);
        parts.hidden = false;
        return { webhook: data, text };
      } catch (error) {
        // Of a webhook that is not there, there is nothing more to say.
        parts.hidden = error.status === 404;
        throw error;
      }
    },
    seen: ({ webhook, text }) => {
      remember(webhook);
      // Once: whoever chooses another account afterwards has it.
      if (home === undefined) lookInto(webhook.account);
      home = webhook.account;
      page.call(webhook.address);
      page.h1.classList.add("address", "user");
      lay(below, summary(webhook));
      lay(actions, actionsOf(webhook, { refresh: () => reader.refresh(), test: () => test.run() }));
      lay(settings, settingsOf(webhook, text));
    },
    draw: ({ webhook }) => disabledNotice(webhook, () => reader.refresh()),
  });
}

function summary(webhook) {
  return [
    h("p", { class: "badges" }, enabled(webhook), webhook.liveMode === false && h("span", { class: "tag" }, "Test"),
      hasSeveralAccounts() && h("span", { class: "tag user" }, webhook.account),
      h("code", { class: "muted user" }, webhook.id)),
    webhook.description && h("p", { class: "user" }, webhook.description),
  ];
}

const WHY = {
  neverEnabled: "It has not been enabled yet.",
  person: "Somebody disabled it.",
  failing: "It was disabled because its receiver failed for too long. See what the last attempts say, mend the receiver, then enable the webhook.",
  gone: "It was disabled because its receiver answered 410 Gone.",
};

function disabledNotice(webhook, refresh) {
  if (webhook.enabled) return null;
  return h("div", { class: `notice ${webhook.disabledReason === "failing" ? "bad" : "info"}`, key: "disabled" }, icon(webhook.disabledReason === "failing" ? "warn" : "minus"),
    h("div", null,
      h("p", null, h("strong", null, "This webhook is disabled: nothing is sent to it. "), WHY[webhook.disabledReason]),
      may("manage") && h("button", { type: "button", class: "primary", on: { click: () => enable(webhook).then(refresh) } }, "Enable")));
}

function settingsOf(webhook, text) {
  const condition = find(tryParse(text), "condition");
  const headers = Object.keys(webhook.headers ?? {});
  const metadata = Object.entries(webhook.metadata ?? {});
  return facts(
    [`Event types (${webhook.types.length})`, h("ul", { class: "codes", tabindex: webhook.types.length > 8 ? "0" : null, "aria-label": "Event types" }, webhook.types.map((type) => h("li", null, h("code", { class: "user" }, type))))],
    ["Condition", condition ? block(pretty(condition), "Condition") : "none"],
    ["Authentication", authentication(webhook)],
    ["Headers", headers.length > 0 ? h("ul", { class: "codes" }, headers.map((name) => h("li", null, h("code", { class: "user" }, name), " (hidden)"))) : "none"],
    ["Signature", (webhook.schemes ?? []).map((scheme) => SCHEMES[scheme.kind] ?? scheme.kind).join(", ") || "none"],
    ["Timeout", webhook.timeoutMillis === undefined ? "default" : duration(webhook.timeoutMillis)],
    ["Order", webhook.ordering === "perObject" ? "one after the other for each object" : "as they come"],
    ["Rate limit", webhook.rateLimit ? `${webhook.rateLimit.perSecond} per second, bursts of ${webhook.rateLimit.burst}` : "none"],
    ["Concurrency", webhook.concurrency === undefined ? "default" : `${webhook.concurrency} at once`],
    ["API version", h("span", { class: "user" }, webhook.apiVersion)],
    metadata.length > 0 && ["Metadata", h("ul", { class: "codes" }, metadata.map(([name, value]) => h("li", { class: "user" }, `${name}: ${value}`)))],
    ["Created", exactly(webhook.createdTime)],
    ["Changed", exactly(webhook.updatedTime)]);
}

const SCHEMES = { standardWebhooks: "Standard Webhooks" };

function authentication(webhook) {
  if (webhook.oauth) {
    return [h("span", null, "OAuth: "), h("span", { class: "user" }, webhook.oauth.clientID), h("span", { class: "user under" }, webhook.oauth.tokenEndPoint)];
  }
  return webhook.authentication ? [h("span", null, "basic, as "), h("span", { class: "user" }, webhook.authentication.username)] : "none";
}
