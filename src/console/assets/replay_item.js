// A replay in a list: what it delivers, how far it is, and a way to stop it.

import { path, post } from "./api.js";
import { h } from "./dom.js";
import { tell } from "./dialog.js";
import { counted, dayTime, number, replayState, when } from "./format.js";
import { nameOf } from "./names.js";
import { say, to } from "./page.js";
import { may } from "./session.js";

const KINDS = { all: "All events", failed: "Failed events", missed: "Missed events" };

/** `within` is the webhook whose page it is on, if it is on one. */
export function replayItem(replay, refresh, within) {
  const running = replay.state === "running";
  return h("li", { class: "replay", key: replay.id },
    h("div", { class: "replay-head" }, replayState(replay.state), h("strong", null, subject(replay)),
      running && may("operate") && h("button", { type: "button", on: { click: () => cancel(replay, refresh) } }, "Cancel",
        h("span", { class: "unseen" }, ` the replay of ${subject(replay).toLowerCase()}`))),
    !within && replay.webhook && h("p", null, "to ", h("a", { class: "user", href: to("webhooks", replay.webhook) }, nameOf(replay.webhook))),
    !within && !replay.webhook && h("p", null, "to all webhooks that ask for it"),
    replay.event && h("p", null, "event ", h("a", { class: "user", href: to("events", replay.event) }, replay.event)),
    running && bar(replay),
    h("p", { class: "muted" }, counts(replay)),
    h("p", { class: "muted" }, range(replay), "Started ", when(replay.createdTime), replay.endedTime && [", ended ", when(replay.endedTime)]));
}

const subject = (replay) => (replay.scope === "event" ? "One event" : KINDS[replay.kind] ?? replay.kind);

function bar(replay) {
  const share = progress(replay);
  const said = share === null ? "Under way" : `${Math.floor(share * 100)} %`;
  return h("div", { class: "progress" },
    h("progress", { max: 1, value: share, "aria-label": "Progress of the replay" }), h("span", null, said));
}

/** How far it is in the time that it covers; null where that has no beginning or no end. */
function progress({ from, until, reached }) {
  if (!from || !until) return null;
  const length = Date.parse(until) - Date.parse(from);
  const done = reached ? Date.parse(reached) - Date.parse(from) : 0;
  return length > 0 ? Math.min(1, Math.max(0, done / length)) : null;
}

const counts = (replay) => [
  `Looked at ${counted(replay.looked, "event")}, made ${counted(replay.made, "delivery", "deliveries")}`,
  replay.withdrawn > 0 && `, withdrew ${number(replay.withdrawn)}`,
  replay.rate && ` · ${number(replay.rate)} per second at most`,
];

function range({ from, until }) {
  if (from && until) return `Events of ${dayTime(from)} to ${dayTime(until)} · `;
  if (from) return `Events since ${dayTime(from)} · `;
  return until && `Events until ${dayTime(until)} · `;
}

async function cancel(replay, refresh) {
  try {
    await post(path("replays", replay.id, "cancel"));
    say("The replay was cancelled. What it made and is not sent yet is cancelled, too.");
    refresh();
  } catch (failure) {
    tell("It could not be cancelled", failure);
  }
}
