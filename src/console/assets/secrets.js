// Secrets: shown after the user name was typed, and gone with the dialog that showed them.

import { path, post } from "./api.js";
import { h } from "./dom.js";
import { ask, copyable, openDialog } from "./dialog.js";
import { choiceField } from "./form.js";
import { exactly } from "./format.js";
import { say } from "./page.js";

const OVERLAPS = [["0", "Immediately"], ["1", "After 1 hour"], ["3", "After 3 hours"], ["6", "After 6 hours"], ["12", "After 12 hours"], ["24", "After 24 hours"]];

export async function reveal(webhook) {
  const secrets = await ask({
    title: "Reveal the secret", submit: "Reveal", typed: true,
    text: "Receivers verify with the secret that a request is from here and unchanged. Whoever knows it can forge requests.",
    run: async (values) => (await post(path("webhooks", webhook.id, "secrets", "reveal"), values)).data.secrets,
  });
  if (secrets) show("The secrets of the webhook", secrets);
}

export async function rotate(webhook) {
  const secrets = await ask({
    title: "Rotate the secret", submit: "Rotate", typed: true,
    text: "A new secret signs at once. Until the old one ends, requests are signed with both, so that receivers can change over.",
    fields: [choiceField({ name: "overlapHours", label: "The old secret ends", value: "12", choices: OVERLAPS })],
    run: async ({ overlapHours, confirmation }) => (await post(path("webhooks", webhook.id, "secrets", "rotate"),
      { overlapHours: Number(overlapHours), confirmation })).data.secrets,
  });
  if (!secrets) return;
  say("The secret was rotated.");
  show("The new secret", secrets);
}

function show(title, secrets) {
  const close = () => opened.dialog.close();
  const opened = openDialog({ title, body: [
    secrets.map((one, at) => h("section", { class: "secret" },
      h("h3", null, at === 0 ? "Current" : "Earlier, still valid"),
      copyable(one.secret, at === 0 ? "current secret" : `earlier secret ${at}`),
      one.publicKey && [h("p", null, "Receivers verify with this public key:"), copyable(one.publicKey, "public key")],
      h("p", { class: "muted" }, "Since ", exactly(one.createdTime), one.expiresTime && [". Ends ", exactly(one.expiresTime)]))),
    h("div", { class: "form-end" }, h("button", { type: "button", class: "primary", on: { click: close } }, "Done")),
  ] });
}

/** After a webhook was created: its secret, and whether to enable it where nobody said so. Resolves with that. */
export async function welcome({ secret, prompt }) {
  if (!secret && !prompt) return false;
  const close = (answer) => () => opened.dialog.close(answer);
  const opened = openDialog({ title: "The webhook was created", body: [
    secret && h("section", { class: "secret" },
      h("h3", null, "Its secret"),
      h("p", null, "Give it to the receiver, which verifies requests with it. It is not shown again, unless somebody who may reveals it."),
      copyable(secret, "secret")),
    prompt && h("section", null, h("h3", null, "Enable it now?"),
      h("p", null, "It is disabled: nothing is sent to it. You can enable it later, when the receiver is ready.")),
    h("div", { class: "form-end" }, prompt
      ? [h("button", { type: "button", on: { click: close("") } }, "Leave it disabled"), h("button", { type: "button", class: "primary", on: { click: close("enable") } }, "Enable now")]
      : h("button", { type: "button", class: "primary", on: { click: close("") } }, "Done")),
  ] });
  return (await opened.closed) === "enable";
}
