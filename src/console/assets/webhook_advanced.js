// The folded part of a webhook's form: what most webhooks do not need.

import { h, lay } from "./dom.js";
import { Complaint, areaField, choiceField, field, textField, whole } from "./form.js";
import { find, compact, pretty, tryParse } from "./json.js";

/**
 * The fields for `webhook` (null for a new one) after those given; `text` is the webhook as it was sent. `read`
 * gives from the form's values what is to be sent: `body`, and `condition` as text.
 */
export function advanced(webhook, first, text = "") {
  const condition = find(tryParse(text), "condition");
  const headers = headersField(webhook);
  const credentials = credentialFields(webhook);
  const fields = [
    ...first, headers, ...credentials.fields,
    textField({ name: "timeoutMillis", label: "Timeout in milliseconds", mode: "numeric", value: webhook?.timeoutMillis, read: whole,
      hint: "An attempt without an answer by then has failed." }),
    choiceField({ name: "ordering", label: "Order", value: webhook?.ordering ?? "unordered", choices: [
      ["unordered", "As they come", "Fast; receivers may get an older event after a newer one."],
      ["perObject", "One after the other for each object", "What fails holds up later events of the same object."]] }),
    textField({ name: "rateLimit.perSecond", label: "Rate limit: requests per second", mode: "numeric", value: webhook?.rateLimit?.perSecond, read: whole, names: ["rateLimit"] }),
    textField({ name: "rateLimit.burst", label: "Rate limit: burst", mode: "numeric", value: webhook?.rateLimit?.burst, read: whole, hint: "How many may come at once before the rate holds." }),
    textField({ name: "concurrency", label: "Concurrency", mode: "numeric", value: webhook?.concurrency, read: whole, hint: "How many requests may be under way at once." }),
    areaField({ name: "condition", label: "Condition", value: condition ? pretty(condition) : "", read: conditionText, rows: 5,
      hint: "JSON that an event must match beside its type, such as {\"data.object.total\": {\"$gte\": 100}}." }),
    textField({ name: "apiVersion", label: "API version", value: webhook?.apiVersion ?? "", plain: true, hint: "default, latest, or a date such as 2026-03-01." }),
  ];
  const element = h("details", { class: "advanced" }, h("summary", null, "Advanced settings"),
    h("div", { class: "fold" }, fields.filter((one) => !one.inside).map((one) => one.element)));
  return { element, fields, read: (values) => ({
    body: { headers: values.headers, ...credentials.body(values), ...limits(webhook, values) },
    condition: changedCondition(condition, values.condition),
  }) };
}

/** What was left empty is said as null where there was something, and not at all for a new webhook. */
function limits(webhook, values) {
  const cleared = (value) => value ?? (webhook ? null : undefined);
  const perSecond = values["rateLimit.perSecond"];
  const burst = values["rateLimit.burst"];
  return {
    timeoutMillis: cleared(values.timeoutMillis),
    concurrency: cleared(values.concurrency),
    rateLimit: cleared(perSecond === undefined && burst === undefined ? undefined : { perSecond, burst }),
    ordering: webhook || values.ordering !== "unordered" ? values.ordering : undefined,
    apiVersion: values.apiVersion.trim() || undefined,
  };
}

function conditionText(text) {
  if (!text.trim()) return undefined;
  if (!tryParse(text)?.entries) throw new Complaint("must be a JSON object");
  return text.trim();
}

function changedCondition(before, text) {
  if (!before) return text;
  if (!text) return "null";
  return compact(before) === compact(tryParse(text)) ? undefined : text;
}

// Values are never sent to the page, so that those that are there can only be replaced together.
function headersField(webhook) {
  const kept = Object.keys(webhook?.headers ?? {});
  const rows = h("div", { class: "header-rows" });
  const add = (name = "") => {
    const row = h("div", { class: "header-row" },
      h("input", { type: "text", value: name, placeholder: "Name", "aria-label": "Header name", autocomplete: "off", autocapitalize: "none", spellcheck: "false" }),
      h("input", { type: "text", placeholder: "Value", "aria-label": `Value of the header ${name}`.trim(), autocomplete: "off", autocapitalize: "none", spellcheck: "false" }),
      h("button", { type: "button", on: { click: () => { row.remove(); more.focus(); } } }, "Remove"));
    rows.append(row);
    return row;
  };
  const more = h("button", { type: "button", on: { click: () => add().querySelector("input").focus() } }, "Add a header");
  let replacing = kept.length === 0;
  const control = h("div", null);
  const edit = () => {
    replacing = true;
    kept.forEach(add);
    control.replaceChildren(rows, more);
    (rows.querySelector("input:nth-of-type(2)") ?? more).focus();
  };
  if (replacing) control.append(rows, more);
  else lay(control, h("p", null, "Kept as they are: ", kept.map((name, at) => [at > 0 && ", ", h("code", { class: "user" }, name)]), "."),
    h("button", { type: "button", on: { click: edit } }, "Replace the headers"));
  return field({ name: "headers", label: "Headers", group: true, control,
    hint: webhook && kept.length > 0 ? "Their values are not shown. To change one, enter all of them anew." : "Sent with each request. Their values are not shown again.",
    read: () => (replacing ? headersOf(rows, webhook && kept.length > 0) : undefined) });
}

function headersOf(rows, had) {
  const pairs = [...rows.children].map((row) => [...row.querySelectorAll("input")].map((input) => input.value.trim()))
    .filter(([name, value]) => name || value);
  if (pairs.some(([name, value]) => !name || !value)) throw new Complaint("each header needs a name and a value");
  return pairs.length > 0 || had ? Object.fromEntries(pairs) : undefined;
}

/** Authentication: none, basic or OAuth, with the fields of the one that is chosen. */
function credentialFields(webhook) {
  const oauth = webhook?.oauth;
  const before = oauth ? "oauth" : webhook?.authentication ? "basic" : "none";
  const keep = before === "none" ? undefined : "Never shown. Type it again when you change anything of this.";
  const secret = (name, label, kind) => textField({ name, label, type: "password", plain: true, hint: before === kind ? keep : undefined });
  const basic = [
    textField({ name: "authentication.username", label: "User name", value: webhook?.authentication?.username, plain: true, names: ["authentication"] }),
    secret("authentication.password", "Password", "basic"),
  ];
  const token = [
    textField({ name: "oauth.tokenEndPoint", label: "Token endpoint", type: "url", mode: "url", value: oauth?.tokenEndPoint, plain: true, names: ["oauth"], hint: "Begins with https://." }),
    textField({ name: "oauth.clientID", label: "Client id", value: oauth?.clientID, plain: true }),
    secret("oauth.clientSecret", "Client secret", "oauth"),
    choiceField({ name: "oauth.grantType", label: "Grant", value: oauth?.grantType ?? "client_credentials", choices: [["client_credentials", "Client credentials"], ["password", "Password"]] }),
    textField({ name: "oauth.userName", label: "User name, for the password grant", value: oauth?.userName, plain: true }),
    secret("oauth.password", "Password, for the password grant", "oauth"),
    textField({ name: "oauth.audience", label: "Audience", value: oauth?.audience, plain: true }),
  ];
  const groups = { basic: h("div", { class: "inset" }, basic.map((one) => one.element)), oauth: h("div", { class: "inset" }, token.map((one) => one.element)) };
  const choose = (chosen) => Object.entries(groups).forEach(([name, group]) => { group.hidden = name !== chosen; });
  const kind = choiceField({ name: "credentials", label: "How the sender authenticates itself", value: before, change: choose,
    choices: [["none", "Not at all", "The signature proves who it is."], ["basic", "Basic: user name and password"], ["oauth", "OAuth: a token"]] });
  choose(before);
  kind.element.append(groups.basic, groups.oauth);
  const placed = [...basic, ...token].map((one) => ({ ...one, inside: true }));
  return { fields: [kind, ...placed], body: (values) => credentials(values, webhook, before) };
}

function credentials(values, webhook, before) {
  const kind = values.credentials;
  const ended = (name) => (before === name && kind !== name ? null : undefined);
  const text = (name) => values[name]?.trim() || undefined;
  const basic = { username: text("authentication.username"), password: values["authentication.password"] || undefined };
  const oauth = {
    tokenEndPoint: text("oauth.tokenEndPoint"), clientID: text("oauth.clientID"), clientSecret: values["oauth.clientSecret"] || undefined,
    grantType: values["oauth.grantType"], userName: text("oauth.userName"), password: values["oauth.password"] || undefined, audience: text("oauth.audience"),
  };
  const untouched = (made, old) => before === kind && Object.entries(made).every(([name, value]) => value === old?.[name]);
  return {
    authentication: kind === "basic" && !untouched(basic, webhook?.authentication) ? basic : ended("basic"),
    oauth: kind === "oauth" && !untouched(oauth, webhook?.oauth) ? oauth : ended("oauth"),
  };
}
