// The session: who is acting, what they may do, and which part of the data they look at.

import { get } from "./api.js";

const MODE = "tidings.mode";

let me = { user: "", accounts: [], liveMode: true, permissions: [] };
let test = false;
let account = "";

/** Asks who is acting. Everything else of this file is to be asked afterwards. */
export async function begin() {
  me = (await get("me")).data;
  test = hasBothModes() ? remembered() : me.liveMode === false;
  if (mustName()) account = me.accounts[0];
}

export const user = () => me.user;
export const may = (permission) => (me.permissions ?? []).includes(permission);
export const hasBothModes = () => me.liveMode === null || me.liveMode === undefined;
export const isTest = () => test;
export const accountInView = () => account;

/** The accounts to choose from; null for any. */
export const accounts = () => me.accounts ?? null;
export const hasSeveralAccounts = () => me.accounts === null || me.accounts === undefined || me.accounts.length > 1;

// Who reaches several accounts, but not all, has to say of which one each list is.
const mustName = () => me.accounts?.length > 1;

/** The account that a list must name beside what it is of: where somebody has to, `of`, or the one that is looked at. */
export const named = (of = account) => (mustName() ? { account: of } : {});

/** Looks at the account of what was opened, where somebody has to name one. */
export function lookInto(of) {
  if (mustName() && of !== account) lookAt({ account: of });
}

export function lookAt(change) {
  if ("test" in change) {
    test = change.test;
    remember();
  }
  if ("account" in change) account = change.account;
  document.dispatchEvent(new Event("tidings:scope"));
}

/** The parameters that narrow a list to what is looked at. */
export function scope() {
  return {
    liveMode: hasBothModes() ? String(!test) : undefined,
    account: hasSeveralAccounts() ? account : undefined,
  };
}

// Browsers can be told to keep nothing; the choice then lasts as long as the page.
function remembered() {
  try {
    return localStorage.getItem(MODE) === "test";
  } catch {
    return false;
  }
}

function remember() {
  try {
    localStorage.setItem(MODE, test ? "test" : "live");
  } catch {
    // As above.
  }
}
