// The overview: whether all is well, what waits, and which webhooks fail.

import { get } from "./api.js";
import { h } from "./dom.js";
import { badge, duration, number, when } from "./format.js";
import { figure, healthPanel } from "./health.js";
import { icon } from "./icon.js";
import { FAST, feed, to } from "./page.js";
import { facts, panel, table } from "./parts.js";
import { scope } from "./session.js";

export function openOverview(page) {
  const region = h("div", { class: "region" });
  const rates = healthPanel(page, { title: "All deliveries", path: "statistics", query: scope });
  page.main.append(page.head({ title: "Overview" }), region, rates.element);
  page.follows = true;
  feed(page, {
    region, what: "the overview", every: FAST,
    read: async (signal) => (await get("overview", scope(), signal)).data,
    draw: (overview) => [h("div", { class: "cards" }, overview.backlog && backlog(overview), webhooks(overview), overview.health && health(overview.health)),
      failed(overview.failing ?? [])],
  });
}

const atLeast = (count, more) => `${number(count)}${more ? " or more" : ""}`;

// What waits is counted in both modes, so that who sees one of them alone is not told.
const backlog = ({ backlog: { waiting, atLeast: more } }) => panel("Backlog", { class: "panel card" },
  h("dl", { class: "figures" }, figure("Deliveries waiting", atLeast(waiting, more))),
  h("p", { class: "muted" }, "Those that are to be sent, now or at their next attempt."));

const webhooks = ({ webhooks: { enabled, disabled, atLeast: more } }) => panel("Webhooks", { class: "panel card" },
  h("dl", { class: "figures" }, figure("Enabled", atLeast(enabled, more)), figure("Disabled", atLeast(disabled, more))),
  h("p", null, h("a", { href: to("webhooks") }, "See all webhooks")));

function health(now) {
  const alive = now.dispatchers.filter((one) => one.alive).length;
  return panel("Health", { class: "panel card" }, facts(
    ["State", now.ready ? badge("good", "check", "Ready") : badge("bad", "cross", "Not ready")],
    ["Storage answers in", duration(now.storageMilliseconds)],
    ["Dispatchers", alive === 0 ? badge("bad", "cross", "None is alive: nothing is sent") : `${alive} of ${now.dispatchers.length} alive`],
    ["Behind by", now.lagMilliseconds > 0 ? duration(now.lagMilliseconds) : "nothing"],
    now.oldestDue && ["Oldest due", when(now.oldestDue)],
    now.clockOffsetMilliseconds !== null && now.clockOffsetMilliseconds !== undefined && ["Clock differs by", duration(now.clockOffsetMilliseconds)]));
}

function failed(webhooksThatFail) {
  return panel("Failing webhooks", {}, webhooksThatFail.length === 0
    ? h("p", { class: "fine" }, icon("check"), "No webhook is failing.")
    : table({
      caption: "Failing webhooks", rows: webhooksThatFail, key: (webhook) => webhook.id,
      columns: [
        { head: "Address", class: "wide", cell: (webhook) => [h("a", { class: "user strong", href: to("webhooks", webhook.id) }, webhook.address),
          webhook.description && h("span", { class: "user under" }, webhook.description)] },
        { head: "Failing since", cell: (webhook) => (webhook.failingSince ? when(webhook.failingSince) : h("span", { class: "muted" }, "unknown")) },
        { head: "State", cell: (webhook) => (webhook.enabled ? badge("warn", "warn", "Failing") : badge("bad", "cross", "Disabled")) },
      ],
    }));
}
