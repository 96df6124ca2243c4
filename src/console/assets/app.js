// The console: asks who is acting, draws what surrounds the pages, and opens the page that the address names.

import { begin, user, hasBothModes, hasSeveralAccounts, accounts, accountInView, isTest, lookAt } from "./session.js";
import { h, lay, freshId } from "./dom.js";
import { Page, to, trouble } from "./page.js";
import { segments } from "./parts.js";
import { closeDialogs } from "./dialog.js";
import { openWebhooks } from "./webhooks.js";
import { openWebhookForm } from "./webhook_form.js";
import { openWebhook } from "./webhook.js";
import { openEvents } from "./events.js";
import { openEvent } from "./event.js";
import { openDelivery } from "./delivery.js";
import { openCatalogue } from "./catalogue.js";
import { openOverview } from "./overview.js";
import { openReplays } from "./replays.js";

const ROUTES = [
  ["webhooks", openWebhooks],
  ["webhooks/new", openWebhookForm],
  ["webhooks/:id", openWebhook],
  ["webhooks/:id/edit", openWebhookForm],
  ["events", openEvents],
  ["events/:id", openEvent],
  ["deliveries/:id", openDelivery],
  ["replays", openReplays],
  ["catalogue", openCatalogue],
  ["overview", openOverview],
];

const NAVIGATION = [
  ["webhooks", "Webhooks"],
  ["events", "Events"],
  ["replays", "Replays"],
  ["catalogue", "Catalogue"],
  ["overview", "Overview"],
];

const main = document.getElementById("main");
let page = null;

async function start() {
  document.addEventListener("tidings:ended", showEnd);
  document.getElementById("skip").addEventListener("click", skip);
  try {
    await begin();
  } catch (error) {
    lay(main, h("h1", null, "Webhooks & events"), trouble(error, "who you are", start));
    return;
  }
  drawScope();
  route();
  addEventListener("hashchange", () => route(true));
  document.addEventListener("tidings:scope", () => {
    drawScope();
    // A form keeps what was typed; what has an id of its own is the same in any mode.
    if (page.follows) route();
  });
}

/** Opens what the address names. After a step of the reader's, the focus goes to the head of the new page. */
function route(stepped = false) {
  const [where, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [open, given] = matching(where || "webhooks");
  page?.close();
  closeDialogs();
  drawNavigation(where.split("/")[0] || "webhooks");
  page = new Page(main, new URLSearchParams(query));
  main.replaceChildren();
  open(page, given);
  if (!stepped) return;
  scrollTo(0, 0);
  (main.querySelector("h1") ?? main).focus({ preventScroll: true });
}

function matching(where) {
  const parts = where.split("/").filter(Boolean).map(unescaped);
  for (const [pattern, open] of ROUTES) {
    const names = pattern.split("/");
    const fits = names.length === parts.length && names.every((name, at) => name.startsWith(":") || name === parts[at]);
    if (fits) return [open, parts[1] === "new" ? undefined : parts[1]];
  }
  return [openNothing];
}

function unescaped(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function openNothing(page) {
  page.main.append(page.head({ title: "There is no such page" }),
    h("p", null, "The address may be mistyped. ", h("a", { href: to("webhooks") }, "Go to the webhooks"), "."));
}

function drawNavigation(current) {
  const at = { deliveries: "events" }[current] ?? current;
  lay(document.getElementById("nav"), h("ul", null, NAVIGATION.map(([name, title]) =>
    h("li", null, h("a", { href: to(name), "aria-current": name === at ? (name === current ? "page" : "true") : null }, title)))));
}

function drawScope() {
  lay(document.getElementById("scope"),
    hasBothModes() && segments({ name: "mode", legend: "Mode", value: isTest() ? "test" : "live",
      choices: [["live", "Live"], ["test", "Test"]], change: (value) => lookAt({ test: value === "test" }) }),
    hasSeveralAccounts() && accountField(),
    h("p", { class: "who" }, h("span", { class: "muted" }, "Signed in as "), h("span", { class: "user" }, user())));
  // The field keeps its place and the focus, also where the page chose another account.
  const field = document.querySelector("#scope .scope-field > :last-child");
  if (field) field.value = accountInView();
  document.body.classList.toggle("test-mode", isTest());
}

function accountField() {
  const id = freshId("account");
  const change = (event) => lookAt({ account: event.target.value.trim() });
  const field = accounts() === null
    ? h("input", { id, type: "text", value: accountInView(), placeholder: "All", autocomplete: "off", spellcheck: "false", on: { change } })
    : h("select", { id, value: accountInView(), on: { change } },
      accounts().map((name) => h("option", { value: name }, name)));
  return h("div", { class: "scope-field", keep: true }, h("label", { for: id }, "Account"), field);
}

function showEnd() {
  closeDialogs();
  document.getElementById("ended")?.remove();
  document.body.prepend(h("div", { class: "ended", id: "ended", role: "alert" },
    h("p", null, h("strong", null, "Your session has ended. "), "Reload the page to sign in again."),
    h("button", { type: "button", on: { click: () => location.reload() } }, "Reload the page")));
}

function skip(event) {
  event.preventDefault();
  main.focus();
}

start();
