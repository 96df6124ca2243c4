// Forms: fields with a label, a hint and room for what is wrong with them; errors of the API find their field.

import { h, lay, freshId } from "./dom.js";
import { sentence } from "./api.js";
import { icon } from "./icon.js";

/** A field around any control. `read` gives its value, undefined for "say nothing". */
export function field({ name, label, hint, control, group = false, read, names = [] }) {
  const ids = { hint: freshId("hint"), error: freshId("error") };
  const error = h("p", { class: "error", id: ids.error });
  const described = [hint && ids.hint, ids.error].filter(Boolean).join(" ");
  const focusable = control.matches?.("input, select, textarea") ? control : control.querySelector("input, select, textarea, button");
  focusable.id ||= freshId(name.replace(/\W/g, "-"));
  (group ? null : focusable)?.setAttribute("aria-describedby", described);
  const hinted = hint && h("p", { class: "hint", id: ids.hint }, hint);
  const element = group
    ? h("fieldset", { class: "field", "aria-describedby": described }, h("legend", null, label), hinted, control, error)
    : h("div", { class: "field" }, h("label", { for: focusable.id }, label), hinted, control, error);
  const complain = (message) => {
    lay(error, message && [icon("warn"), sentence(message)]);
    if (message) focusable.setAttribute("aria-invalid", "true");
    else focusable.removeAttribute("aria-invalid");
  };
  return { name, names: [name, ...names], element, focusable, read: read ?? (() => control.value), complain };
}

const NOTHING = { autocomplete: "off", autocapitalize: "none", spellcheck: "false" };

/** One line of text. `plain` turns off what browsers do to words. */
export function textField({ name, label, hint, value, type = "text", required, plain, placeholder, mode, read, names }) {
  const control = h("input", { type, name, value: value ?? "", required, placeholder, inputmode: mode, ...(plain ? NOTHING : { autocomplete: "off" }) });
  return field({ name, label: required ? label : optional(label), hint, control, names, read: read ? () => read(control.value) : undefined });
}

export function areaField({ name, label, hint, value, rows = 4, required, read, placeholder }) {
  const control = h("textarea", { name, rows, value: value ?? "", placeholder, class: "code", ...NOTHING });
  return field({ name, label: required ? label : optional(label), hint, control, read: read ? () => read(control.value) : undefined });
}

export function selectField({ name, label, hint, value, choices }) {
  const control = h("select", { name, value }, choices.map(([choice, text]) => h("option", { value: choice }, text)));
  return field({ name, label, hint, control });
}

/** A choice of a few; each `[value, text, explanation?]`. */
export function choiceField({ name, label, hint, value, choices, change }) {
  const group = freshId(name);
  const control = h("div", { class: "choices" }, choices.map(([choice, text, more]) => h("label", { class: "choice" },
    h("input", { type: "radio", name: group, value: choice, checked: choice === value, on: { change: () => change?.(choice) } }),
    h("span", null, text, more && h("span", { class: "hint" }, more)))));
  const read = () => control.querySelector("input:checked")?.value;
  return { ...field({ name, label, hint, control, group: true, read }), control };
}

/** A number of people's, or undefined where nothing is entered. */
export function whole(text) {
  const trimmed = text.trim();
  if (!trimmed) return undefined;
  const value = Number(trimmed);
  if (!Number.isInteger(value)) throw new Complaint("must be a whole number");
  return value;
}

const optional = (label) => [label, h("span", { class: "muted" }, " (optional)")];

/** What a field's `read` throws when what was entered cannot be sent. */
export class Complaint extends Error {}

/**
 * A form. `send` gets the values of its fields and may fail; what the API complains of is shown at the field whose
 * name is the complaint's parameter (or begins it), the rest at the end.
 */
export class Form {
  constructor({ fields, content, submit, cancel, danger, send, explain }) {
    this.fields = fields;
    this.send = send;
    this.explain = explain;
    this.trouble = h("div", { role: "alert" });
    this.button = h("button", { type: "submit", class: danger ? "danger" : "primary" }, submit);
    this.element = h("form", { class: "form", novalidate: true, on: { submit: (event) => this.submit(event) } },
      content ?? fields.map((one) => one.element), this.trouble,
      h("div", { class: "form-end" }, cancel && h("button", { type: "button", on: { click: cancel } }, "Cancel"), this.button));
  }

  async submit(event) {
    event.preventDefault();
    if (this.button.getAttribute("aria-disabled")) return;
    const values = this.values();
    if (!values) return;
    // Not `disabled`, which would take the focus away.
    this.button.setAttribute("aria-disabled", "true");
    lay(this.trouble);
    try {
      await this.send(values);
    } catch (failure) {
      if (!("errors" in failure)) throw failure;
      this.complain(failure);
    } finally {
      this.button.removeAttribute("aria-disabled");
    }
  }

  values() {
    const values = {};
    const wrong = new Map();
    for (const one of this.fields) {
      try {
        const value = one.read();
        if (one.focusable.required && value === "") throw new Complaint("must be filled in");
        values[one.name] = value;
      } catch (complaint) {
        if (!(complaint instanceof Complaint)) throw complaint;
        wrong.set(one, complaint.message);
      }
    }
    this.mark(wrong);
    return wrong.size === 0 && values;
  }

  complain(failure) {
    const explained = this.explain?.(failure);
    const errors = explained
      ? Object.entries(explained).map(([parameter, message]) => ({ parameter, message })) : failure.errors;
    const wrong = new Map();
    const rest = [];
    for (const { parameter, message } of errors) {
      const one = parameter && this.fieldOf(parameter);
      if (one) wrong.set(one, [wrong.get(one), sentence(message)].filter(Boolean).join(" "));
      else rest.push(parameter ? `${parameter}: ${message}` : sentence(message));
    }
    if (rest.length === 0 && wrong.size === 0) rest.push(failure.message);
    lay(this.trouble, rest.length > 0 && h("div", { class: "notice bad" }, icon("warn"), h("div", null, rest.map((text) => h("p", null, text)))));
    this.mark(wrong);
  }

  fieldOf(parameter) {
    const begins = (name) => parameter === name || parameter.startsWith(`${name}.`) || parameter.startsWith(`${name}[`);
    const length = (one) => Math.max(0, ...one.names.filter(begins).map((name) => name.length));
    const [best] = [...this.fields].sort((a, b) => length(b) - length(a));
    return best && length(best) > 0 ? best : null;
  }

  mark(wrong) {
    for (const one of this.fields) one.complain(wrong.get(one) ?? null);
    const first = this.fields.find((one) => wrong.has(one));
    if (!first) return;
    for (let fold = first.element.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    first.focusable.focus();
  }
}
