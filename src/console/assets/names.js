// Names: the addresses of webhooks that lists know only by id.

import { get, path } from "./api.js";

const known = new Map();
const GONE = Symbol("gone");

/** Does `work` for each, a few at a time. */
export async function eachOf(items, work, atOnce = 4) {
  const rest = [...items];
  const worker = async () => {
    while (rest.length > 0) await work(rest.shift());
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, rest.length) }, worker));
}

/** Looks up what is not known yet. What cannot be looked up stays an id. */
export async function learn(ids, signal) {
  const missing = [...new Set(ids)].filter((id) => id && !known.has(id));
  await eachOf(missing, async (id) => {
    try {
      known.set(id, (await get(path("webhooks", id), {}, signal)).data.address);
    } catch (failure) {
      if (failure.status === 404) known.set(id, GONE);
    }
  });
}

export const remember = (webhook) => known.set(webhook.id, webhook.address);

/** What to call a webhook. */
export function nameOf(id) {
  const name = known.get(id);
  return name === GONE ? `${id} (deleted)` : name ?? id;
}
