// The form of a webhook: to create one, or to edit what may be changed of one.

import { get, path, send } from "./api.js";
import { h, lay } from "./dom.js";
import { Form, choiceField, selectField, textField } from "./form.js";
import { advanced } from "./webhook_advanced.js";
import { to, say, trouble } from "./page.js";
import { accountInView, accounts, hasBothModes, hasSeveralAccounts, isTest } from "./session.js";
import { typeFields, typesOf } from "./type_picker.js";
import { enable } from "./webhook_actions.js";
import { welcome } from "./secrets.js";

export async function openWebhookForm(page, id) {
  const region = h("div", { class: "region narrow" });
  page.main.append(page.head({ above: id ? [to("webhooks", id), "Webhook"] : [to("webhooks"), "Webhooks"],
    title: id ? "Edit webhook" : "Create webhook" }), region);
  const load = async () => {
    lay(region, h("p", { class: "waiting" }, "Loading the form…"));
    try {
      const [catalogue, known] = await Promise.all([
        get("catalogue", {}, page.signal), id && get(path("webhooks", id), {}, page.signal),
      ]);
      const form = id ? editForm(id, known, catalogue.data.data, load) : createForm(catalogue.data.data);
      region.replaceChildren(form.element);
    } catch (failure) {
      if (page.closed) return;
      if (!("errors" in failure)) throw failure;
      lay(region, trouble(failure, "what the form needs", load));
    }
  };
  await load();
}

const addressField = (value) => textField({ name: "address", label: "URL", type: "url", mode: "url", value, required: true, plain: true,
  hint: "Where the events go, by POST. Begins with https:// or http://.", placeholder: "https://example.com/webhooks" });

const descriptionField = (value) => textField({ name: "description", label: "Description", value, hint: "For people: whose it is, what it is for." });

function createForm(catalogue) {
  let asked = false;
  const status = choiceField({ name: "enabled", label: "Status", value: "false", choices: [
    ["false", "Disabled", "Nothing is sent until it is enabled."], ["true", "Enabled", "Events are sent from now on."]] });
  // Whoever leaves the preselected choice untouched has said nothing, and is asked afterwards.
  status.control.addEventListener("click", (event) => { asked ||= event.target.matches("input"); });
  const more = advanced(null, scopeFields());
  const types = typeFields(catalogue);
  const fields = [addressField(), descriptionField(), status, ...types, ...more.fields];
  return new Form({
    fields, content: [...fields.slice(0, 3 + types.length).map((one) => one.element), more.element],
    submit: "Create webhook", cancel: () => { location.hash = to("webhooks"); },
    send: async (values) => {
      const { body, condition } = more.read(values);
      const named = {
        address: values.address.trim(), types: typesOf(values), description: values.description.trim() || undefined,
        enabled: asked ? values.enabled === "true" : undefined, ...body,
        account: values.account?.trim() || undefined,
        liveMode: values.liveMode === undefined ? undefined : values.liveMode === "live",
      };
      const { data } = await send("POST", "webhooks", spliced(named, condition));
      if (await welcome(data)) await enable(data);
      else say(data.enabled ? "The webhook was created and is enabled." : "The webhook was created. It is disabled.");
      location.hash = to("webhooks", data.id);
    },
  });
}

function scopeFields() {
  const account = accountInView();
  return [
    hasBothModes() && choiceField({ name: "liveMode", label: "Mode", value: isTest() ? "test" : "live",
      hint: "A webhook gets events of its mode only. It cannot be changed later.", choices: [["live", "Live"], ["test", "Test"]] }),
    hasSeveralAccounts() && (accounts() === null
      ? textField({ name: "account", label: "Account", value: account, plain: true, hint: "Whose webhook it is. It cannot be changed later." })
      : selectField({ name: "account", label: "Account", value: account || accounts()[0], hint: "Whose webhook it is. It cannot be changed later.",
        choices: accounts().map((name) => [name, name]) })),
  ].filter(Boolean);
}

function editForm(id, { data: webhook, text, etag }, catalogue, reload) {
  const more = advanced(webhook, [], text);
  const fields = [addressField(webhook.address), descriptionField(webhook.description), ...typeFields(catalogue, webhook.types), ...more.fields];
  const own = fields.slice(0, fields.length - more.fields.length);
  const form = new Form({
    fields, content: [...own.map((one) => one.element), more.element],
    submit: "Save", cancel: () => { location.hash = to("webhooks", id); },
    send: async (values) => {
      const { body, condition } = more.read(values);
      const changed = changedOf(webhook, { address: values.address.trim(), description: values.description.trim(), types: typesOf(values), ...body });
      try {
        await send("PATCH", path("webhooks", id), spliced(changed, condition), etag ? { "if-match": etag } : {});
      } catch (failure) {
        if (failure.status === 412) return void changedMeanwhile(form, reload);
        throw failure;
      }
      say("Saved.");
      location.hash = to("webhooks", id);
    },
  });
  return form;
}

function changedMeanwhile(form, reload) {
  lay(form.trouble, h("div", { class: "notice bad" }, h("div", null,
    h("p", null, h("strong", null, "Somebody else changed this webhook meanwhile. "), "Nothing was saved. Load what it is now and enter your changes again."),
    h("button", { type: "button", on: { click: reload } }, "Load what it is now"))));
}

/** Only what differs is sent: what others change at the same time stays theirs. */
function changedOf(webhook, values) {
  const same = (name, value) => JSON.stringify(webhook[name] ?? null) === JSON.stringify(value);
  return Object.fromEntries(Object.entries(values).filter(([name, value]) => value !== undefined && !same(name, value)));
}

/** The body as JSON, with the condition as it was written: its decimals must not pass through a float. */
function spliced(body, condition) {
  const text = JSON.stringify(body);
  if (condition === undefined) return text;
  return `${text.slice(0, -1)}${text === "{}" ? "" : ","}"condition":${condition}}`;
}
