// What can be done with a webhook: each as a button, asked before it cannot be undone.

import { path, post, send } from "./api.js";
import { h } from "./dom.js";
import { ask, tell } from "./dialog.js";
import { icon } from "./icon.js";
import { say, to } from "./page.js";
import { reveal, rotate } from "./secrets.js";
import { may } from "./session.js";

/** The buttons of what the user may do. */
export function actionsOf(webhook, { refresh, test }) {
  const manage = may("manage");
  const secrets = may("reveal");
  return [
    manage && button("Send test event", test, "primary", "send"),
    manage && h("a", { class: "button", href: to("webhooks", webhook.id, "edit"), key: "edit" }, "Edit"),
    manage && (webhook.enabled
      ? button("Disable", () => disable(webhook).then(refresh))
      : button("Enable", () => enable(webhook).then(refresh))),
    secrets && button("Reveal secret", () => reveal(webhook)),
    secrets && button("Rotate secret", () => rotate(webhook)),
    manage && button("Delete", () => remove(webhook), "danger-quiet"),
  ];
}

const button = (text, click, look, sign) => h("button", { type: "button", class: look, on: { click } }, sign && icon(sign), text);

/** Enabling asks nothing (seed: "Enabling a webhook manually does not require confirmation"). */
export async function enable(webhook) {
  try {
    await post(path("webhooks", webhook.id, "enable"));
    say("Enabled. Events of its types are sent from now on.");
  } catch (failure) {
    await tell("It could not be enabled", failure);
  }
}

const disable = (webhook) => ask({
  title: "Disable the webhook", submit: "Disable", danger: true, typed: true,
  text: [target(webhook), "Nothing will be sent to it until somebody enables it. Events of that time can be replayed later."],
  run: async ({ confirmation }) => {
    await post(path("webhooks", webhook.id, "disable"), { confirmation });
    say("Disabled. Nothing is sent to it.");
  },
});

const remove = (webhook) => ask({
  title: "Delete the webhook", submit: "Delete for ever", danger: true,
  text: [target(webhook), "It cannot be brought back, nor can its secrets. Deliveries that are waiting are cancelled."],
  run: async () => {
    await send("DELETE", path("webhooks", webhook.id), "{}");
    say("The webhook was deleted.");
    location.hash = to("webhooks");
  },
});

const target = (webhook) => h("p", { class: "user target" }, webhook.address);
