// JSON as it was written: numbers keep their digits (29.90 stays 29.90) and objects the order of their keys,
// which JSON.parse would not do.

const TOKEN = /[\t\n\r ]*(?:([{}[\],:])|("[^"\\]*(?:\\.[^"\\]*)*")|(-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null))/y;
const DEPTH = 200;

/** Reads a text into a tree of `{kind: "object", entries}`, `{kind: "array", items}` and `{kind, raw}`. */
export function parse(text) {
  const tokens = new Tokens(text);
  const node = value(tokens, 0);
  tokens.end();
  return node;
}

/** As `parse`, but null for what is not JSON. */
export function tryParse(text) {
  try {
    return parse(text);
  } catch {
    return null;
  }
}

class Tokens {
  constructor(text) {
    this.text = text;
    this.at = 0;
    this.next();
  }

  next() {
    const taken = this.token;
    TOKEN.lastIndex = this.at;
    const found = TOKEN.exec(this.text);
    this.token = found ? { sign: found[1], string: found[2], word: found[3] } : {};
    this.at = found ? TOKEN.lastIndex : this.at;
    return taken;
  }

  take(sign) {
    const taken = this.token.sign === sign;
    if (taken) this.next();
    return taken;
  }

  expect(sign) {
    if (!this.take(sign)) throw new SyntaxError(`expected ${sign}`);
  }

  end() {
    const rest = this.text.slice(this.at).trim();
    if (rest || Object.values(this.token).some(Boolean)) throw new SyntaxError("text after the value");
  }
}

function value(tokens, depth) {
  if (depth > DEPTH) throw new SyntaxError("too deep");
  if (tokens.take("{")) return object(tokens, depth);
  if (tokens.take("[")) return array(tokens, depth);
  const { string, word } = tokens.next();
  if (string !== undefined) return { kind: "string", raw: string };
  if (word === undefined) throw new SyntaxError("expected a value");
  return { kind: /^[-\d]/.test(word) ? "number" : "word", raw: word };
}

function object(tokens, depth) {
  const entries = [];
  if (tokens.take("}")) return { kind: "object", entries };
  do {
    const { string } = tokens.next();
    if (string === undefined) throw new SyntaxError("expected a name");
    tokens.expect(":");
    entries.push([JSON.parse(string), value(tokens, depth + 1)]);
  } while (tokens.take(","));
  tokens.expect("}");
  return { kind: "object", entries };
}

function array(tokens, depth) {
  const items = [];
  if (tokens.take("]")) return { kind: "array", items };
  do items.push(value(tokens, depth + 1));
  while (tokens.take(","));
  tokens.expect("]");
  return { kind: "array", items };
}

/** What stands under the names given, one in the other; undefined where there is nothing. */
export function find(node, ...names) {
  return names.reduce((at, name) => at?.entries?.find(([key]) => key === name)?.[1], node);
}

/** A tree as indented text, in pieces `[kind, text]` for whoever colours them. */
export function pieces(node, indent = "", out = []) {
  if (node.entries) brackets("{", "}", node.entries, indent, out, ([key, inner], deeper) => {
    out.push(["key", JSON.stringify(key)], ["", ": "]);
    pieces(inner, deeper, out);
  });
  else if (node.items) brackets("[", "]", node.items, indent, out, (inner, deeper) => pieces(inner, deeper, out));
  else out.push([node.kind, node.raw]);
  return out;
}

function brackets(open, close, parts, indent, out, each) {
  if (parts.length === 0) return out.push(["", open + close]);
  const deeper = `${indent}  `;
  parts.forEach((part, index) => {
    out.push(["", `${index === 0 ? open : ","}\n${deeper}`]);
    each(part, deeper);
  });
  return out.push(["", `\n${indent}${close}`]);
}

export const pretty = (node) => pieces(node).map(([, text]) => text).join("");

/** A tree on one line. */
export function compact(node) {
  if (node.entries) return `{${node.entries.map(([key, inner]) => `${JSON.stringify(key)}: ${compact(inner)}`).join(", ")}}`;
  if (node.items) return `[${node.items.map(compact).join(", ")}]`;
  return node.raw;
}

/**
 * What changed, from an event's `previousAttributes` and its object: one row for each attribute with its path,
 * what it was and what it is. Undefined is "not there".
 */
export function changes(previous, object, above = []) {
  return previous.entries.flatMap(([key, before]) => {
    const after = find(object, key);
    const path = [...above, /[.\s"]|^$/.test(key) ? JSON.stringify(key) : key];
    const both = before.entries?.length && after?.entries;
    return both ? changes(before, after, path) : [{ path: path.join("."), before, after }];
  });
}
