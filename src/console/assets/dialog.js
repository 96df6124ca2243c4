// Dialogs: what is asked before something is done, with what went wrong shown where it was asked.

import { h, freshId } from "./dom.js";
import { user } from "./session.js";
import { sentence } from "./api.js";
import { Form, textField } from "./form.js";
import { icon } from "./icon.js";

const open = new Set();

/** Closes all dialogs, as when another page opens; what they showed leaves the document. */
export function closeDialogs() {
  for (const dialog of [...open]) dialog.close();
}

/** Opens a dialog. Resolves, once it is closed, with what it was closed with. */
export function openDialog({ title, body, wide }) {
  const id = freshId("dialog");
  const closer = h("button", { type: "button", class: "plain close", "aria-label": "Close", on: { click: () => dialog.close() } }, icon("cross"));
  const dialog = h("dialog", { "aria-labelledby": id, class: wide ? "wide" : null },
    h("header", null, h("h2", { id }, title), closer), body);
  open.add(dialog);
  document.body.append(dialog);
  dialog.showModal();
  // The first thing to fill in, or else the way out that changes nothing; not the cross.
  dialog.querySelector("input:checked, form input, .form-end button")?.focus();
  const closed = new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      open.delete(dialog);
      dialog.remove();
      resolve(dialog.returnValue);
    });
  });
  return { dialog, closed };
}

/**
 * Asks, and does `run` with what was entered; resolves with what `run` returned, or undefined when nothing was done.
 * `typed` asks for the acting user's name; `fields` are further fields of a form.
 */
export function ask({ title, text, fields = [], typed, submit, danger, run }) {
  const name = typed && textField({ name: "confirmation", label: `Your user name, to confirm`, required: true,
    hint: `Type ${user()} exactly, with capitals as they are.`, plain: true });
  const paragraphs = (Array.isArray(text) ? text : [text]).filter(Boolean)
    .map((part) => (part instanceof Node ? part : h("p", null, part)));
  let result;
  const form = new Form({
    fields: [...fields, name].filter(Boolean),
    submit, danger,
    cancel: () => opened.dialog.close(),
    send: async (values) => {
      result = await run(values);
      opened.dialog.close();
    },
    explain: (failure) => (failure.has("confirmation")
      ? { confirmation: "This is not your user name exactly. Capitals count." } : null),
  });
  const opened = openDialog({ title, body: [paragraphs, form.element] });
  return opened.closed.then(() => result);
}

/** A code to take away, with a button that copies it. */
export function copyable(text, label) {
  const id = freshId("copy");
  const said = h("span", { class: "copied", role: "status" });
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      said.textContent = "Copied.";
    } catch {
      // Browsers refuse outside secure contexts; the text can still be selected.
      getSelection().selectAllChildren(document.getElementById(id));
      said.textContent = "Press Ctrl+C or ⌘C to copy what is selected.";
    }
  };
  return h("div", { class: "copyable" },
    h("code", { id, class: "user", tabindex: "0", role: "textbox", "aria-readonly": "true", "aria-label": label }, text),
    h("button", { type: "button", on: { click: copy } }, icon("copy"), "Copy", h("span", { class: "unseen" }, ` ${label}`)), said);
}

/** Shows a failure of something that had no dialog. */
export function tell(title, failure) {
  const close = () => opened.dialog.close();
  const opened = openDialog({ title, body: [
    h("div", { class: "notice bad", role: "alert" }, icon("warn"), h("p", null, sentence(failure.message))),
    h("div", { class: "form-end" }, h("button", { type: "button", class: "primary", on: { click: close } }, "Close")),
  ] });
  return opened.closed;
}
