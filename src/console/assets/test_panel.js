// Sending a test: the answer of the receiver as it comes.

import { get, path, post, sentence } from "./api.js";
import { h, lay } from "./dom.js";
import { answerOf } from "./delivery.js";
import { outcome } from "./format.js";
import { icon } from "./icon.js";
import { to, whisper } from "./page.js";

const PAUSE = 700;
const PATIENCE = 90_000;

export class TestPanel {
  constructor(page, webhook, changed) {
    Object.assign(this, { page, webhook, changed, turn: 0 });
    this.inside = h("div", { class: "region" });
    this.element = h("section", { class: "panel test", "aria-label": "Test event", hidden: true },
      h("header", null, h("h2", null, "Test event"),
        h("button", { type: "button", class: "plain", "aria-label": "Close the test", on: { click: () => this.close() } }, icon("cross"))),
      this.inside);
  }

  close() {
    this.turn += 1;
    this.element.hidden = true;
    this.page.h1.focus();
  }

  async run() {
    this.turn += 1;
    const turn = this.turn;
    this.element.hidden = false;
    lay(this.inside, h("p", { class: "waiting" }, "Sending…"));
    whisper("Sending a test event.");
    try {
      const { data } = await post(path("webhooks", this.webhook, "test"));
      await this.follow(data.deliveryId, turn, Date.now() + PATIENCE);
    } catch (failure) {
      if (turn !== this.turn || this.page.closed) return;
      if (!("errors" in failure)) throw failure;
      this.fail(failure);
    }
  }

  /** Reads the delivery until the receiver has answered, or long enough. */
  async follow(delivery, turn, until) {
    while (turn === this.turn && !this.page.closed) {
      const { data } = await get(path("deliveries", delivery), {}, this.page.signal);
      if (turn !== this.turn) return;
      const latest = data.attempts?.at(-1);
      const late = Date.now() > until;
      lay(this.inside, answerOf(data), late && !latest && h("p", null, "No answer yet. The delivery goes on; look at it later."),
        h("p", null, h("a", { href: to("deliveries", delivery) }, "See the delivery")));
      if (latest || late || data.state === "cancelled") {
        whisper(latest ? `The receiver answered: ${outcome(latest)}.` : "No answer yet.");
        this.changed();
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
  }

  fail(failure) {
    lay(this.inside, h("div", { class: "notice bad", role: "alert" }, icon("warn"),
      h("div", null, h("p", null, h("strong", null, "The test failed. "), sentence(failure.message)),
        h("button", { type: "button", on: { click: () => this.run() } }, "Try again"))));
  }
}
