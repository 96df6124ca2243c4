// The chart of a webhook's health: attempts as stacked bars, and below them the latency, over the same time.

import { h, lay, s } from "./dom.js";
import { UNCOUNTED, date, dayTime, duration, hour, number } from "./format.js";

const HOUR = 3_600_000;
const LEFT = 58;
const RIGHT = 8;
const BARS = { top: 10, height: 120 };
const LINE = { top: 158, height: 54 };
const HEIGHT = 236;

const all = (one) => one.succeeded + one.failed + one.other;

/** Puts the hours of statistics into `size`-hour buckets from `from` on, also those in which nothing happened. */
export function buckets(statistics, from, total, size) {
  const made = Array.from({ length: total / size }, (_, at) => ({
    from: new Date(from + at * size * HOUR), succeeded: 0, failed: 0, other: 0, latency: null,
  }));
  for (const one of statistics.hours ?? []) {
    const bucket = made[Math.floor((Date.parse(one.from) - from) / (size * HOUR))];
    if (!bucket) continue;
    const succeeded = one.outcomes?.succeeded ?? 0;
    const other = UNCOUNTED.reduce((sum, name) => sum + (one.outcomes?.[name] ?? 0), 0);
    bucket.succeeded += succeeded;
    bucket.other += other;
    bucket.failed += one.attempts - succeeded - other;
    if (one.latency) bucket.latency = Math.max(bucket.latency ?? 0, one.latency.p95);
  }
  return made;
}

/** A chart; `show` draws buckets into it. It is drawn anew for the width that it has. */
export class Chart {
  constructor(signal) {
    this.plot = h("div", { class: "plot" });
    this.readout = h("p", { class: "readout muted", "aria-hidden": "true" });
    this.legend = h("figcaption", { class: "legend" });
    this.element = h("figure", { class: "chart" }, this.legend, this.plot, this.readout);
    this.buckets = [];
    const watcher = new ResizeObserver(() => this.draw());
    watcher.observe(this.plot);
    signal.addEventListener("abort", () => watcher.disconnect());
  }

  show(made, size, summary) {
    const same = made.length === this.buckets.length;
    Object.assign(this, { buckets: made, size, summary });
    lay(this.legend, swatches(made.some((one) => one.other > 0)));
    this.read(same ? this.pointed : undefined);
  }

  draw() {
    const width = this.plot.clientWidth;
    if (!width || this.buckets.length === 0) return;
    lay(this.plot, s("svg", { class: "drawing", width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": this.summary,
      on: { pointermove: (event) => this.point(event), pointerleave: () => this.read(undefined) } }, this.parts(width)));
  }

  parts(width) {
    const step = (width - LEFT - RIGHT) / this.buckets.length;
    const most = nice(Math.max(1, ...this.buckets.map(all)));
    const slowest = nice(Math.max(1, ...this.buckets.map((one) => one.latency ?? 0)));
    return [
      axis(BARS, width, number(most), "0"),
      axis(LINE, width, duration(slowest), "0"),
      s("text", { class: "label", x: LEFT, y: LINE.top - 8 }, this.size > 1 ? "p95 latency, slowest hour" : "p95 latency"),
      this.buckets.map((one, at) => bar(one, LEFT + at * step, step, most)),
      line(this.buckets, step, slowest),
      this.times(step, width),
      s("rect", { class: "pointed", x: LEFT + (this.pointed ?? 0) * step, y: BARS.top, width: step, height: LINE.top + LINE.height - BARS.top,
        visibility: this.pointed === undefined ? "hidden" : "visible" }),
    ];
  }

  times(step, width) {
    // As many as fit, each at the beginning of its bucket.
    const every = Math.ceil(this.buckets.length / Math.max(2, Math.floor(width / 90)));
    const text = this.size > 1 ? date : hour;
    return this.buckets.map((one, at) => (at % every === 0 && LEFT + at * step < width - 30
      ? s("text", { class: "label", x: LEFT + at * step, y: HEIGHT - 6 }, text(one.from)) : null));
  }

  point(event) {
    const box = this.plot.getBoundingClientRect();
    const at = Math.floor((event.clientX - box.left - LEFT) / ((box.width - LEFT - RIGHT) / this.buckets.length));
    const within = at >= 0 && at < this.buckets.length ? at : undefined;
    if (within !== this.pointed) this.read(within);
  }

  read(at) {
    this.pointed = at;
    const one = this.buckets[at];
    this.readout.textContent = one
      ? `${dayTime(one.from)}: ${number(one.succeeded)} succeeded, ${number(one.failed)} failed${one.other > 0 ? `, ${number(one.other)} not counted` : ""}, p95 ${duration(one.latency)}`
      : this.buckets.some((each) => all(each) > 0) ? "Point at a bar to read it." : "Nothing was sent in this time.";
    this.draw();
  }
}

const swatch = (look, text) => h("span", { class: `swatch ${look}` }, text);

const swatches = (others) => [swatch("succeeded", "Succeeded"), swatch("failed", "Failed"),
  others && swatch("other", "Not counted"), swatch("latency", "p95 latency")];

function axis({ top, height }, width, most, least) {
  return [
    s("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: top + 0.5, y2: top + 0.5 }),
    s("line", { class: "grid base", x1: LEFT, x2: width - RIGHT, y1: top + height + 0.5, y2: top + height + 0.5 }),
    s("text", { class: "label", x: LEFT - 6, y: top + 4, "text-anchor": "end" }, most),
    s("text", { class: "label", x: LEFT - 6, y: top + height + 4, "text-anchor": "end" }, least),
  ];
}

function bar(one, x, step, most) {
  const scale = BARS.height / most;
  const gap = step > 6 ? 2 : 0.5;
  const piece = (look, count, below) => s("rect", { class: look, x: x + gap / 2, width: Math.max(1, step - gap),
    y: BARS.top + BARS.height - (below + count) * scale, height: count * scale });
  return [piece("succeeded", one.succeeded, 0), piece("failed", one.failed, one.succeeded), piece("other", one.other, one.succeeded + one.failed)];
}

/** The latency, broken where there was none, with a dot for each value: one that stands alone is seen, too. */
function line(buckets, step, slowest) {
  const y = (value) => LINE.top + LINE.height - (value / slowest) * LINE.height;
  const x = (at) => LEFT + (at + 0.5) * step;
  let drawing = "";
  const dots = [];
  buckets.forEach((one, at) => {
    if (one.latency === null) return;
    const joined = buckets[at - 1]?.latency !== null && at > 0;
    drawing += `${joined ? "L" : "M"}${x(at).toFixed(1)} ${y(one.latency).toFixed(1)}`;
    dots.push(s("circle", { class: "dot", cx: x(at).toFixed(1), cy: y(one.latency).toFixed(1), r: 2.5 }));
  });
  return [s("path", { class: "latency", d: drawing || "M0 0" }), dots];
}

/** The next of 1, 2, 5, 10, 20, 50… */
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value);
}
