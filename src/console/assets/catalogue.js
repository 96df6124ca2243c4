// The catalogue: which types of events there are, by resource.

import { get } from "./api.js";
import { h } from "./dom.js";
import { counted } from "./format.js";
import { find, tryParse } from "./json.js";
import { feed, whisper } from "./page.js";
import { filter, fold, treeBlock } from "./parts.js";
import { marks } from "./type_picker.js";

export function openCatalogue(page) {
  const region = h("div", { class: "region" });
  const said = h("p", { class: "muted" });
  const search = h("input", { type: "search", value: page.query.get("search") ?? "", placeholder: "Type or description", autocomplete: "off", spellcheck: "false" });
  const keyOnly = h("input", { type: "checkbox", id: "key-only" });
  page.main.append(page.head({ title: "Catalogue", below: said }),
    h("search", { class: "filters" }, filter("Search", search), h("label", { class: "filter check", for: "key-only" }, keyOnly, "Key events only")), region);
  // A catalogue changes with a release of the application, so that it is read once.
  feed(page, {
    region, what: "the catalogue", every: 0,
    read: async (signal) => {
      const { data, text } = await get("catalogue", {}, signal);
      const trees = find(tryParse(text), "data")?.items ?? [];
      return { strict: data.strict, types: data.data.map((one, at) => ({ ...one, tree: trees[at] })) };
    },
    seen: ({ strict, types }) => { said.textContent = types.length > 0 ? about(strict, types) : ""; },
    draw: ({ types }) => (types.length === 0 ? nothing() : h("div", { keep: true }, groups(page, types, search, keyOnly))),
  });
}

const about = (strict, types) => `${counted(types.length, "type")}. ${strict ? "Only these are published." : "Other types may be published, too."} Key events are those that every integration should listen for.`;

const nothing = () => h("div", { class: "empty" }, h("h2", null, "There is no catalogue"),
  h("p", null, "The application does not say which types of events it publishes. Look at the events to see."));

function groups(page, types, search, keyOnly) {
  const items = types.map((one) => ({ one, element: item(one), words: [one.type, one.description, ...(one.aliases ?? [])].join(" ").toLowerCase() }));
  const resources = grouped(items);
  const sections = [...resources].map(([resource, members]) => ({ members, element: h("section", { class: "panel group" },
    h("h2", { class: "user" }, resource, h("span", { class: "muted" }, ` ${members.length}`)), members.map(({ element }) => element)) }));
  const none = h("div", { class: "empty", hidden: true }, h("h2", null, "No type matches"), h("p", null, "Search for a part of the type or of its description."));
  const look = () => {
    const text = search.value.trim().toLowerCase();
    for (const { one, element, words } of items) element.hidden = !words.includes(text) || (keyOnly.checked && !one.key);
    for (const { members, element } of sections) element.hidden = members.every((member) => member.element.hidden);
    const left = items.filter(({ element }) => !element.hidden).length;
    none.hidden = left > 0;
    page.remember({ search: search.value.trim() });
    whisper(`${counted(left, "type")} shown.`);
  };
  search.addEventListener("input", look);
  keyOnly.addEventListener("change", look);
  if (search.value) look();
  return [sections.map(({ element }) => element), none];
}

const resourceOf = ({ one }) => one.resource ?? one.type.split(".")[0];

function grouped(items) {
  const found = new Map();
  for (const item of items) found.set(resourceOf(item), [...(found.get(resourceOf(item)) ?? []), item]);
  return found;
}

function item(one) {
  const summary = [h("code", { class: "user" }, one.type), marks(one), one.description && h("span", { class: "user summary-text" }, one.description)];
  return fold(summary, () => details(one), { class: "type-item" });
}

function details(one) {
  const example = find(one.tree, "example");
  const schema = find(one.tree, "schema");
  return [
    h("p", null, one.description ? h("span", { class: "user" }, one.description) : h("span", { class: "muted" }, "There is no description.")),
    one.deprecated && h("p", null, "Deprecated: do not build on it any more."),
    one.aliases?.length > 0 && h("p", null, "Also known as ", one.aliases.map((alias, at) => [at > 0 && ", ", h("code", { class: "user" }, alias)])),
    one.version && h("p", null, "Since version ", h("span", { class: "user" }, one.version)),
    example && [h("h3", null, "Example"), treeBlock(example, `Example of ${one.type}`)],
    schema && [h("h3", null, "Schema"), treeBlock(schema, `Schema of ${one.type}`)],
  ];
}
