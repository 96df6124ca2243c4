// The HTTP API: one function that calls it, and what it says when that fails.

// Beside these files, wherever the page is mounted and however its address is written.
const API = new URL("../api/", import.meta.url);

const TIMEOUT = 15_000;

/** Why a call failed, in words for people. `errors` are those of the API: code, parameter, message. */
export class Failure extends Error {
  constructor(message, { status = 0, errors = [] } = {}) {
    super(message);
    this.status = status;
    this.errors = errors;
  }

  /** Whether asking again will not help. */
  get final() {
    return [401, 403, 404].includes(this.status);
  }

  has(code) {
    return this.errors.some((error) => error.code === code);
  }
}

let ended = false;

/** Whether the session has ended: nothing is asked any more. */
export const sessionEnded = () => ended;

/** What comes of a GET: `{data, text, etag}`. `text` is what was sent, for numbers as they were written. */
export function get(path, query = {}, signal) {
  return call("GET", path + search(query), { signal });
}

/** POST; the body is always JSON, `{}` where there is nothing to say. */
export function post(path, body = {}, signal) {
  return call("POST", path, { body: JSON.stringify(body), signal });
}

/** POST, PATCH or DELETE with a body that is JSON already, and headers. */
export function send(method, path, body, headers = {}) {
  return call(method, path, { body, headers });
}

/** A path from its parts, each escaped. */
export const path = (...parts) => parts.map(encodeURIComponent).join("/");

function search(query) {
  const pairs = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null && one !== "") pairs.append(name, one);
    }
  }
  const text = pairs.toString();
  return text && `?${text}`;
}

async function call(method, where, { body, headers = {}, signal } = {}) {
  if (ended) throw endOfSession();
  const timer = new AbortController();
  const stop = () => timer.abort();
  const timeout = setTimeout(stop, TIMEOUT);
  signal?.addEventListener("abort", stop, { once: true });
  try {
    if (signal?.aborted) stop();
    const response = await fetch(new URL(where, API), {
      method,
      body,
      signal: timer.signal,
      cache: "no-store",
      headers: { accept: "application/json", ...(method === "GET" ? {} : { "content-type": "application/json" }), ...headers },
    });
    return await read(response);
  } catch (error) {
    if (error instanceof Failure || signal?.aborted) throw error;
    if (timer.signal.aborted) throw new Failure(`No answer within ${TIMEOUT / 1000} seconds.`);
    throw new Failure("The server could not be reached. Check your connection.");
  } finally {
    clearTimeout(timeout);
    signal?.removeEventListener("abort", stop);
  }
}

async function read(response) {
  const text = await response.text();
  const data = parsed(text);
  if (!response.ok) throw failureOf(response.status, data);
  // A host that sends people to its sign-in page answers with markup and 200.
  if (text && data === undefined) {
    throw new Failure("The answer could not be read. Your session may have ended: reload the page.");
  }
  return { data, text, etag: response.headers.get("etag") };
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function failureOf(status, data) {
  if (status === 401) {
    ended = true;
    document.dispatchEvent(new Event("tidings:ended"));
    return endOfSession();
  }
  const errors = Array.isArray(data?.errors) ? data.errors.filter((error) => error && typeof error === "object") : [];
  const said = errors.map((error) => error.message).filter(Boolean).map(sentence).join(" ");
  return new Failure(said || WORDS[status] || `The server answered ${status}.`, { status, errors });
}

const endOfSession = () => new Failure("Your session has ended. Reload the page to sign in again.", { status: 401 });

const WORDS = {
  403: "You may not do this.",
  404: "This does not exist, or no longer does.",
  409: "This is not possible at present.",
  412: "Somebody else changed this meanwhile.",
  429: "Too many requests. Wait a moment and try again.",
  500: "The server failed. Try again.",
  503: "The service is not available at present. Try again in a moment.",
};

/** The API's messages as sentences. */
export function sentence(text) {
  const trimmed = String(text).trim();
  const begun = trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return /[.!?…]$/.test(begun) ? begun : `${begun}.`;
}
