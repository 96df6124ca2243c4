// Words and figures: how times, lengths, shares and the API's names are said to people.

import { h } from "./dom.js";
import { icon } from "./icon.js";

const LANGUAGE = "en-GB";
const MOMENT = new Intl.DateTimeFormat(LANGUAGE, { dateStyle: "medium", timeStyle: "medium" });
const DAY_TIME = new Intl.DateTimeFormat(LANGUAGE, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const HOUR = new Intl.DateTimeFormat(LANGUAGE, { hour: "2-digit", minute: "2-digit" });
const DATE = new Intl.DateTimeFormat(LANGUAGE, { day: "numeric", month: "short" });
const NUMBER = new Intl.NumberFormat(LANGUAGE);

export const timeZone = Intl.DateTimeFormat().resolvedOptions().timeZone;

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOURS = 60 * MINUTE;
const DAY = 24 * HOURS;

const said = (format, iso) => (Number.isNaN(Date.parse(iso)) ? String(iso) : format.format(new Date(iso)));

export const moment = (iso) => said(MOMENT, iso);
export const dayTime = (iso) => said(DAY_TIME, iso);
export const hour = (iso) => said(HOUR, iso);
export const date = (iso) => said(DATE, iso);
export const number = (value) => NUMBER.format(value);

/** "1 event", "2 events". */
export const counted = (count, one, several = `${one}s`) => `${number(count)} ${count === 1 ? one : several}`;

/** How long ago or ahead, for a glance; the exact time is in the title. */
export function when(iso) {
  if (!iso) return h("span", { class: "muted" }, "never");
  return h("time", { datetime: iso, title: moment(iso) }, ago(iso));
}

/** The exact time, and how long ago. */
export function exactly(iso) {
  const near = Math.abs(Date.now() - Date.parse(iso)) < DAY;
  return h("time", { datetime: iso }, moment(iso), near && h("span", { class: "muted" }, ` ·\u00a0${ago(iso)}`));
}

function ago(iso) {
  const past = Date.now() - Date.parse(iso);
  if (Number.isNaN(past)) return String(iso);
  const length = Math.abs(past);
  // Clocks differ by a little; "in 1 s" for what has just happened would confuse.
  if (past > -2 * SECOND && past < 5 * SECOND) return "just now";
  if (length >= DAY) return dayTime(iso);
  const text = length < MINUTE ? `${Math.round(length / SECOND)}\u00a0s`
    : length < HOURS ? `${Math.floor(length / MINUTE)}\u00a0min` : `${Math.floor(length / HOURS)}\u00a0h`;
  return past > 0 ? `${text}\u00a0ago` : `in\u00a0${text}`;
}

export function duration(millis) {
  if (millis === null || millis === undefined) return "–";
  // Latencies are whole milliseconds; nothing takes none.
  if (millis === 0) return "<\u00a01\u00a0ms";
  if (millis < 0.1) return "<\u00a00.1\u00a0ms";
  if (millis < 10) return `${Math.round(millis * 10) / 10}\u00a0ms`;
  if (millis < SECOND) return `${Math.round(millis)}\u00a0ms`;
  if (millis < MINUTE) return `${(millis / SECOND).toFixed(1)}\u00a0s`;
  if (millis < HOURS) return `${Math.floor(millis / MINUTE)} min ${Math.round((millis % MINUTE) / SECOND)} s`;
  return `${(millis / HOURS).toFixed(1)}\u00a0h`;
}

export function percent(share) {
  if (share === null || share === undefined) return "–";
  const value = share * 100;
  // 99.96 is not 100: one failure must not be rounded away.
  const text = value >= 99.95 && value < 100 ? "> 99.9" : value.toFixed(value >= 99.95 || value === 0 ? 0 : 1);
  return `${text}\u00a0%`;
}

/** "timedOut" as "timed out". */
export const words = (name) => String(name).replace(/([a-z])([A-Z])/g, "$1 $2").replace(/[_-]+/g, " ").toLowerCase();

/** The type of an event, which may be broken behind its dots. */
export const typeName = (type) => h("code", { class: "user" }, String(type).split(/(?<=\.)/).map((part, at) => [at > 0 && h("wbr"), part]));

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** A sign and a word in a tone: never the colour alone. */
export function badge(tone, sign, text) {
  return h("span", { class: `badge ${tone}` }, sign && icon(sign), text);
}

export const STATES = {
  waiting: ["quiet", "clock", "Waiting"],
  leased: ["busy", "send", "Sending"],
  delivered: ["good", "check", "Delivered"],
  exhausted: ["bad", "cross", "Failed"],
  expired: ["bad", "cross", "Expired"],
  cancelled: ["quiet", "minus", "Cancelled"],
};

/** The state of a delivery. */
export const state = (name) => badge(...(STATES[name] ?? ["quiet", "dot", capital(words(name))]));

const REPLAY_STATES = {
  running: ["busy", "again", "Running"],
  done: ["good", "check", "Done"],
  cancelled: ["quiet", "minus", "Cancelled"],
  gone: ["quiet", "minus", "Webhook deleted"],
};

export const replayState = (name) => badge(...(REPLAY_STATES[name] ?? ["quiet", "dot", capital(words(name))]));

export const enabled = (webhook) => (webhook.enabled ? badge("good", "check", "Enabled")
  : badge(webhook.disabledReason === "failing" ? "bad" : "quiet", webhook.disabledReason === "failing" ? "cross" : "minus", "Disabled"));

const REASONS = {
  neverEnabled: "never enabled",
  person: "by a person",
  failing: "failed for too long",
  gone: "the receiver answered 410 Gone",
};

export const reason = (name) => REASONS[name] ?? words(name ?? "");

const FAILURES = {
  timeout: "No answer in time",
  connect: "Could not connect",
  dns: "Host name not found",
  tls: "No secure connection (TLS)",
  blocked: "Address not allowed",
  protocol: "Not a valid HTTP answer",
  token: "No access token",
  busy: "Too much under way to this destination",
  filtered: "Not wanted: the condition does not hold",
  expunged: "The payload was expunged",
  sealed: "The secret could not be opened",
  local: "Trouble of the sender",
  hook: "A rule of the sender failed",
  panic: "The sender failed",
};

const OUTCOMES = {
  throttled: "throttled (429)",
  rejected: "rejected (4xx)",
  failed: "answered with an error",
  blocked: "to an address that is not allowed",
  unauthorized: "without an access token",
  filtered: "not wanted by the condition",
  own: "stopped by the sender",
};

/** An outcome as statistics count it. */
export const outcomeWords = (name) => OUTCOMES[name] ?? words(name);

/** An end of deliveries as statistics count it, in the words of the states. */
export const endWords = (name) => (STATES[name]?.[2] ?? words(name)).toLowerCase();

/** The outcomes that say nothing about the receiver: no part of the success rate. */
export const UNCOUNTED = ["filtered", "own"];

/** What came of an attempt: a status or, without an answer, the failure in words. */
export function outcome(attempt) {
  if (attempt.status !== undefined) return `HTTP ${attempt.status}`;
  if (attempt.failure) return FAILURES[attempt.failure] ?? capital(words(attempt.failure));
  return attempt.success ? "Acknowledged" : "No answer";
}
