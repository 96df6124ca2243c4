// Replays of one webhook: the form that starts one, and those that there are.

import { path, post } from "./api.js";
import { h } from "./dom.js";
import { Complaint, Form, choiceField, textField, whole } from "./form.js";
import { timeZone } from "./format.js";
import { FAST, say } from "./page.js";
import { listing, panel } from "./parts.js";
import { replayItem } from "./replay_item.js";
import { may } from "./session.js";

/** `of` gives what narrows the list to the webhook. */
export function replayPanel(page, webhook, of) {
  const region = h("div", { class: "region" });
  const list = listing(page, {
    region, what: "the replays", path: "replays", limit: 5, every: FAST,
    filters: of,
    rows: (rows) => h("ul", { class: "replays" }, rows.map((row) => replayItem(row, () => list.refresh(), webhook))),
    empty: () => h("p", { class: "muted" }, "No replays yet."),
  });
  return panel("Replays", {},
    h("p", { class: "muted" }, "Delivers past events to this webhook again."),
    may("operate") && starter(webhook, list), region);
}

function starter(webhook, list) {
  const form = new Form({
    fields: [
      choiceField({ name: "kind", label: "Which events", value: "failed", choices: [
        ["failed", "Failed", "Those that could not be delivered."],
        ["missed", "Missed", "Those that it never got, as while it was disabled."],
        ["all", "All", "Whatever became of them."]] }),
      timeField("from", "From", `Published at or after. Times are those of ${timeZone}.`),
      timeField("until", "Until", "Published before."),
      textField({ name: "rate", label: "Rate: deliveries per second", mode: "numeric", read: whole, hint: "100 where you enter nothing." }),
    ],
    submit: "Start the replay",
    send: async (values) => {
      await post(path("webhooks", webhook, "replays"), values);
      say("The replay was started.");
      fold.open = false;
      fold.querySelector("summary").focus();
      list.restart();
    },
  });
  const fold = h("details", { class: "starter" }, h("summary", null, "Start a replay"), h("div", { class: "fold" }, form.element));
  return fold;
}

const timeField = (name, label, hint) => textField({ name, label, type: "datetime-local", hint, read: instant });

/** What was entered, in the time zone of the browser, as the API wants it. */
export function instant(text) {
  if (!text) return undefined;
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) throw new Complaint("is not a time");
  return time.toISOString();
}
