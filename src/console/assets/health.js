// Health over time: a chart, the figures of the whole time, and the same as a table.

import { get } from "./api.js";
import { Chart, buckets } from "./chart.js";
import { h, lay } from "./dom.js";
import { UNCOUNTED, counted, dayTime, duration, endWords, number, outcomeWords, percent } from "./format.js";
import { feed } from "./page.js";
import { fold, panel, segments, table } from "./parts.js";

const HOUR = 3_600_000;
const RANGES = {
  day: { hours: 24, size: 1, text: "24 h", long: "the last 24 hours" },
  week: { hours: 168, size: 6, text: "7 d", long: "the last 7 days" },
};
const EVERY = 10_000;

/** The panel of the statistics at `path`, and how to read them at once. */
export function healthPanel(page, { title, path, query = () => ({}) }) {
  const region = h("div", { class: "region" });
  const numbers = h("div", { class: "region" });
  const chart = new Chart(page.signal);
  let range = RANGES.day;
  let begin = 0;
  const choose = (name) => {
    range = RANGES[name];
    list.refresh();
  };
  const list = feed(page, {
    region, what: "the statistics", every: EVERY,
    read: async (signal) => {
      begin = Math.floor(Date.now() / HOUR) * HOUR - (range.hours - 1) * HOUR;
      const asked = range;
      const { data } = await get(path, { ...query(), from: new Date(begin).toISOString() }, signal);
      return { data, made: buckets(data, begin, asked.hours, asked.size), asked };
    },
    seen: ({ data, made, asked }) => {
      chart.show(made, asked.size, summary(data, asked));
      lay(numbers, asTable(made));
    },
    draw: ({ data }) => figures(data),
  });
  const switcher = segments({ name: "range", legend: "Time", value: "day", change: choose,
    choices: Object.entries(RANGES).map(([name, { text }]) => [name, text]) });
  const element = panel(title, { actions: switcher }, region, chart.element, fold("Show the numbers as a table", () => numbers));
  return { element, refresh: list.refresh };
}

const summary = (data, asked) => (data.attempts === 0 ? `No attempts in ${asked.long}.`
  : `${counted(data.attempts, "attempt")} in ${asked.long}, ${percent(data.successRate)} succeeded${data.latency ? `, p95 latency ${duration(data.latency.p95)}` : ""}.`);

function figures(data) {
  const outcomes = Object.entries(data.outcomes ?? {}).filter(([name, count]) => count > 0 && name !== "succeeded");
  const failed = outcomes.filter(([name]) => !UNCOUNTED.includes(name));
  const others = outcomes.filter(([name]) => UNCOUNTED.includes(name));
  const ends = Object.entries(data.deliveries ?? {}).filter(([, count]) => count > 0);
  return [
    h("dl", { class: "figures" },
      figure("Attempts", number(data.attempts)),
      figure("Success rate", percent(data.successRate)),
      figure("Latency p50", duration(data.latency?.p50)),
      figure("p95", duration(data.latency?.p95)),
      figure("p99", duration(data.latency?.p99))),
    h("p", { class: "muted" }, ends.length > 0 ? `Deliveries: ${listed(ends, endWords)}.` : "No delivery has ended in this time.",
      failed.length > 0 && ` Attempts that failed: ${listed(failed, outcomeWords)}.`,
      others.length > 0 && ` Not counted, for they say nothing of the receiver: ${listed(others, outcomeWords)}.`),
  ];
}

const listed = (pairs, said) => pairs.map(([name, count]) => `${number(count)} ${said(name)}`).join(", ");

export const figure = (term, value) => h("div", { key: term }, h("dt", null, term), h("dd", null, value));

function asTable(made) {
  const rows = made.filter((one) => one.succeeded + one.failed + one.other > 0).reverse();
  if (rows.length === 0) return h("p", { class: "muted" }, "Nothing happened in this time.");
  return table({
    caption: "Attempts over time", rows, key: (one) => one.from.toISOString(),
    columns: [
      { head: "From", cell: (one) => dayTime(one.from) },
      { head: "Succeeded", class: "figure", cell: (one) => number(one.succeeded) },
      { head: "Failed", class: "figure", cell: (one) => number(one.failed) },
      rows.some((one) => one.other > 0) && { head: "Not counted", class: "figure", cell: (one) => number(one.other) },
      { head: "p95 latency", class: "figure", cell: (one) => duration(one.latency) },
    ].filter(Boolean),
  });
}
