// A page: what is open at a route, what it keeps asking for, and that it stops when another one opens.

import { Failure, sessionEnded } from "./api.js";
import { h, lay } from "./dom.js";
import { icon } from "./icon.js";

const SLOWEST = 60_000;

export const FAST = 3_000;
export const SLOW = 5_000;

/** The address within the console of a page, from the parts of its path. */
export const to = (...parts) => `#/${parts.map(encodeURIComponent).join("/")}`;

export class Page {
  /** `query` are the parameters behind the `?` of the hash. */
  constructor(main, query) {
    this.main = main;
    this.query = query;
    this.aborter = new AbortController();
    this.signal = this.aborter.signal;
    // Whether it shows what is looked at (mode and account), and opens anew when that changes.
    this.follows = false;
  }

  get closed() {
    return this.signal.aborted;
  }

  close() {
    this.aborter.abort();
  }

  /** The first of a page: the way here, its name, what may be done. */
  head({ above, title, actions, below }) {
    this.h1 = h("h1", { tabindex: "-1" });
    this.call(title);
    return h("header", { class: "head" },
      above && h("p", { class: "above" }, icon("back"), h("a", { href: above[0] }, above[1])),
      h("div", { class: "head-row" }, this.h1, actions && h("div", { class: "actions" }, actions)),
      below);
  }

  /** Gives the page its name, also later, once it is known. */
  call(title) {
    if (this.h1.textContent !== title) this.h1.textContent = title;
    document.title = `${title} · Webhooks & events`;
  }

  /** Keeps the filters in the address, so that reloading and going back find them. */
  remember(query) {
    if (this.closed) return;
    const pairs = new URLSearchParams();
    for (const [name, value] of Object.entries(query)) if (value) pairs.set(name, value);
    const text = pairs.toString();
    const route = location.hash.split("?")[0] || "#/webhooks";
    history.replaceState(history.state, "", route + (text && `?${text}`));
  }

  /**
   * Does `work` now and `ms` after each end of it, as long as the page is open and can be seen. `work` says whether
   * it went well; where it did not, the pauses grow. Returns what makes it happen at once.
   */
  every(ms, work) {
    const clock = new Clock(this, ms, work);
    document.addEventListener("visibilitychange", () => clock.wake(), { signal: this.signal });
    clock.run();
    return () => clock.run();
  }
}

class Clock {
  constructor(page, ms, work) {
    Object.assign(this, { page, ms, work, failures: 0, running: false, again: false, timer: 0 });
  }

  async run() {
    if (this.page.closed) return;
    if (this.running) {
      this.again = true;
      return;
    }
    clearTimeout(this.timer);
    this.running = true;
    const good = await this.work();
    this.running = false;
    this.failures = good ? 0 : this.failures + 1;
    if (this.again) {
      this.again = false;
      this.run();
    } else this.plan();
  }

  plan() {
    if (!this.ms || this.page.closed || document.hidden || sessionEnded()) return;
    const pause = Math.min(this.ms * 2 ** Math.min(this.failures, 5), Math.max(this.ms, SLOWEST));
    this.timer = setTimeout(() => this.run(), pause);
  }

  wake() {
    clearTimeout(this.timer);
    if (!document.hidden && this.ms && !this.running && !this.page.closed && !sessionEnded()) this.run();
  }
}

/**
 * Reads something again and again, and draws it into `region`. `draw` gets what was read and returns nodes. What was
 * drawn stays where reading fails later, with a word about that above it.
 */
export function feed(page, { region, what, every, read, draw, seen }) {
  let value;
  let loaded = false;
  let failure = null;
  let reading;

  const redraw = () => {
    if (page.closed) return;
    region.setAttribute("aria-busy", String(!loaded && !failure));
    lay(region,
      failure && trouble(failure, what, refresh, loaded),
      !loaded && !failure && h("p", { class: "waiting" }, `Loading ${what}…`),
      loaded && drawn());
  };
  const drawn = () => {
    try {
      return draw(value);
    } catch (error) {
      return trouble(understood(error), what, refresh);
    }
  };
  const step = async () => {
    reading = new AbortController();
    const stop = () => reading.abort();
    page.signal.addEventListener("abort", stop, { once: true });
    try {
      const fresh = await read(reading.signal, value);
      seen?.(fresh);
      value = fresh;
      loaded = true;
      failure = null;
    } catch (error) {
      if (reading.signal.aborted) return true;
      failure = understood(error);
    } finally {
      page.signal.removeEventListener("abort", stop);
    }
    redraw();
    return !failure;
  };
  const refresh = () => {
    reading?.abort();
    again();
  };
  redraw();
  const again = page.every(every, step);
  return { refresh, redraw, get value() { return value; } };
}

/** An answer that is not as agreed must end in words, too, never in a page that waits for ever. */
function understood(error) {
  if (error instanceof Failure) return error;
  console.error(error);
  return new Failure("The answer is not as expected. Reload the page; the application may have been updated.");
}

/** What is said where something could not be read or done, with a way to try again. */
export function trouble(failure, what, retry, slight = false) {
  return h("div", { class: slight ? "notice warn" : "notice bad", role: "alert", key: "trouble" },
    icon("warn"),
    h("div", null,
      h("p", null, h("strong", null, slight ? `This may be out of date: ${what} could not be read again. ` : `Could not read ${what}. `), failure.message),
      failure.status === 401
        ? h("button", { type: "button", on: { click: () => location.reload() } }, "Reload the page")
        : h("button", { type: "button", on: { click: retry } }, "Try again")));
}

/** A message in the corner, which goes by itself, and is read out. */
export function say(text, tone = "good") {
  const toast = h("div", { class: `toast ${tone}` }, icon(tone === "good" ? "check" : "warn"), h("span", null, text));
  const toasts = document.getElementById("toasts");
  toasts.append(toast);
  while (toasts.children.length > 3) toasts.firstChild.remove();
  setTimeout(() => toast.remove(), 7_000);
}

/** A message for screen readers alone. */
export function whisper(text) {
  document.getElementById("whisper").textContent = text;
}
