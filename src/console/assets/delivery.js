// One delivery: what became of it, attempt by attempt, and the request as it is sent.

import { get, path, post } from "./api.js";
import { h } from "./dom.js";
import { tell } from "./dialog.js";
import { duration, exactly, moment, outcome, state, when } from "./format.js";
import { icon } from "./icon.js";
import { learn, nameOf } from "./names.js";
import { FAST, feed, say, to } from "./page.js";
import { block, facts, json, panel } from "./parts.js";
import { may } from "./session.js";

const ENDED = ["delivered", "exhausted", "expired", "cancelled"];

export function openDelivery(page, id) {
  const region = h("div", { class: "region" });
  const again = may("operate") && h("button", { type: "button", on: { click: () => redeliver(id) } }, icon("again"), "Redeliver");
  page.main.append(page.head({ above: [to("events"), "Events"], title: "Delivery", actions: again,
    below: h("p", { class: "muted user" }, id) }), region);
  feed(page, {
    region, what: "the delivery", every: FAST,
    read: async (signal, known) => {
      const { data } = await get(path("deliveries", id), {}, signal);
      if (!known) await learn([data.webhookId], signal);
      return data;
    },
    draw: (delivery) => h("div", { class: "columns" },
      h("div", null, attempts(delivery), request(delivery)),
      h("div", { class: "early" }, summary(delivery))),
  });
}

async function redeliver(id) {
  try {
    const { data } = await post(path("deliveries", id, "redeliver"));
    say("Another delivery of the event was made. This is it.");
    location.hash = to("deliveries", data.deliveryId);
  } catch (failure) {
    tell("It was not delivered again", failure);
  }
}

function summary(delivery) {
  return panel("Summary", {}, facts(
    ["State", state(delivery.state)],
    ["Event", h("a", { class: "user", href: to("events", delivery.eventId) }, h("code", null, delivery.type), h("span", { class: "under" }, delivery.eventId))],
    ["Webhook", h("a", { class: "user", href: to("webhooks", delivery.webhookId) }, nameOf(delivery.webhookId))],
    ["Published", exactly(delivery.publishedTime)],
    delivery.dueTime && !ENDED.includes(delivery.state) && ["Next attempt", exactly(delivery.dueTime)],
    delivery.endedTime && ["Ended", exactly(delivery.endedTime)],
    delivery.cause && ["Asked for by", h("span", { class: "user" }, delivery.cause)],
    ["Failed attempts", String(delivery.failures)],
    delivery.interruptions > 0 && ["Interruptions", `${delivery.interruptions} (the sender stopped in the middle of an attempt)`]));
}

function attempts(delivery) {
  const made = delivery.attempts ?? [];
  return panel("Attempts", {},
    made.length === 0 && h("p", { class: "muted" }, delivery.state === "cancelled" ? "It was cancelled before it was tried." : "Not tried yet."),
    h("ol", { class: "timeline" }, made.map(attempt),
      delivery.state === "waiting" && delivery.dueTime && h("li", { class: "quiet", key: "next" }, h("span", { class: "mark" }, icon("clock")),
        h("p", null, h("strong", null, made.length > 0 ? "Next attempt " : "First attempt "), when(delivery.dueTime)))));
}

function attempt(one) {
  return h("li", { class: one.success ? "good" : "bad", key: one.number },
    h("span", { class: "mark" }, icon(one.success ? "check" : "cross")),
    h("h3", null, `Attempt ${one.number}: ${outcome(one)}`, h("span", { class: "unseen" }, one.success ? " (succeeded)" : " (failed)")),
    h("p", { class: "muted" }, h("time", { datetime: one.startedTime }, moment(one.startedTime)), ` · ${duration(one.latencyMillis)}`,
      one.retryAfterSeconds !== undefined && ` · asked to wait ${one.retryAfterSeconds} s`),
    one.error && h("p", { class: "user" }, one.error),
    one.response
      ? [block(one.response, `Response body of attempt ${one.number}`),
        one.truncated && h("p", { class: "cut" }, icon("warn"), "Cut: the receiver answered more than is kept.")]
      : one.status !== undefined && h("p", { class: "muted" }, "The response had no body."));
}

function request({ request: sent, state: present }) {
  if (!sent) return null;
  return panel("Request", {},
    h("p", { class: "muted" }, ENDED.includes(present) ? "As another attempt would send it, without the signature." : "As the next attempt sends it, without the signature."),
    h("p", { class: "request-line" }, h("span", { class: "tag" }, sent.method), h("span", { class: "user" }, sent.url)),
    h("h3", null, "Headers"),
    facts(...Object.entries(sent.headers ?? {}).map(([name, value]) => [name, h("code", { class: "user" }, value)])),
    h("h3", null, "Body"),
    h("p", { class: "muted" }, "Indented for reading."),
    h("div", { key: sent.body, keep: true }, json(sent.body ?? "", "Request body")));
}

/** The answer to a test as it comes: its state, and the first attempt. */
export function answerOf(delivery) {
  const one = delivery.attempts?.at(-1);
  if (!one) return h("p", { class: "waiting" }, delivery.state === "leased" ? "Sending…" : "Waiting to be sent…");
  return [
    h("p", { class: "answer" }, h("span", { class: one.success ? "badge good" : "badge bad" }, icon(one.success ? "check" : "cross"), outcome(one)),
      ` in ${duration(one.latencyMillis)}`,
      !one.success && delivery.state === "waiting" && delivery.dueTime && [" · next attempt ", when(delivery.dueTime)]),
    one.error && h("p", { class: "user" }, one.error),
    one.response ? block(one.response, "Response body of the test") : h("p", { class: "muted" }, "The response had no body."),
  ];
}
