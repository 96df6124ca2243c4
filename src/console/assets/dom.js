// Nodes: how the page makes them, and how a new drawing is laid over the standing one.
//
// Nothing here parses markup. Text only ever becomes text nodes, so that whatever a payload holds or a receiver
// answered is shown and never run.

const SVG = "http://www.w3.org/2000/svg";
const KEY = Symbol("key");
const KEEP = Symbol("keep");
const LISTENERS = Symbol("listeners");

/** An HTML element. `on` holds listeners, `key` names it among its siblings, `keep` shields it from redrawing. */
export function h(tag, props, ...children) {
  return make(document.createElement(tag), props, children);
}

/** An SVG element. */
export function s(tag, props, ...children) {
  return make(document.createElementNS(SVG, tag), props, children);
}

function make(node, props, children) {
  append(node, children);
  for (const [name, value] of Object.entries(props ?? {})) set(node, name, value);
  return node;
}

function append(node, children) {
  for (const child of children) {
    if (Array.isArray(child)) append(node, child);
    else if (child instanceof Node) node.append(child);
    // What is not drawn keeps its place, so that its siblings are found again by theirs.
    else if (child === null || child === undefined || child === false) node.append(document.createComment(""));
    else node.append(String(child));
  }
}

function set(node, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (name === "on") listen(node, value);
  else if (name === "key") node[KEY] = String(value);
  else if (name === "keep") node[KEEP] = true;
  else if (name === "value" || name === "checked") node[name] = value;
  else node.setAttribute(name, value === true ? "" : value);
}

function listen(node, handlers) {
  const known = node[LISTENERS] ?? {};
  for (const type of Object.keys(handlers)) if (!known[type]) node.addEventListener(type, hear);
  node[LISTENERS] = handlers;
}

function hear(event) {
  this[LISTENERS][event.type]?.call(this, event);
}

/**
 * Lays a drawing over what stands in `container`, changing only what differs: focus, scroll positions, selections,
 * typed text and opened details stay as they are.
 */
export function lay(container, ...drawing) {
  const active = document.activeElement;
  const within = active !== container && container.contains(active);
  layChildren(container, make(document.createElement("div"), null, drawing));
  // Focus must not fall to the top of the page because the thing that had it is gone.
  if (within && !active.isConnected) rest(container);
}

function rest(container) {
  if (!container.hasAttribute("tabindex")) container.setAttribute("tabindex", "-1");
  container.focus({ preventScroll: true });
}

function layChildren(old, fresh) {
  const wanted = new Set([...fresh.childNodes].map((node) => node[KEY]));
  const keyed = new Map();
  for (const node of [...old.childNodes]) {
    if (node[KEY] === undefined) continue;
    if (wanted.has(node[KEY])) keyed.set(node[KEY], node);
    else node.remove();
  }
  let at = old.firstChild;
  for (const node of [...fresh.childNodes]) at = place(old, at, node, keyed.get(node[KEY]));
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

/** Puts `node` where `at` stands, by changing what is there if it is the same thing; returns what comes next. */
function place(parent, at, node, twin) {
  if (node[KEY] !== undefined) {
    if (!twin || twin.nodeName !== node.nodeName) {
      parent.insertBefore(node, at);
      if (twin) return dropped(twin, at);
      return at;
    }
    if (twin !== at) parent.insertBefore(twin, at);
    change(twin, node);
    return twin === at ? at.nextSibling : at;
  }
  if (!at || at[KEY] !== undefined) {
    parent.insertBefore(node, at);
    return at;
  }
  const next = at.nextSibling;
  if (at.nodeType === node.nodeType && at.nodeName === node.nodeName) change(at, node);
  else at.replaceWith(node);
  return next;
}

function dropped(twin, at) {
  const next = twin === at ? at.nextSibling : at;
  twin.remove();
  return next;
}

function change(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  if (old[KEEP] && fresh[KEEP]) return;
  changeAttributes(old, fresh);
  listen(old, fresh[LISTENERS] ?? {});
  layChildren(old, fresh);
}

function changeAttributes(old, fresh) {
  for (const { name, value } of [...fresh.attributes]) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    // Whether a fold is open, and what may be focused, is the reader's doing.
    if (name !== "open" && name !== "tabindex" && !fresh.hasAttribute(name)) old.removeAttribute(name);
  }
}

let last = 0;

/** An id that no other element of the page has. */
export function freshId(prefix) {
  last += 1;
  return `${prefix}-${last}`;
}

/** Calls `work` once nothing has been asked for during `ms`. */
export function debounce(ms, work) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...given), ms);
  };
}
