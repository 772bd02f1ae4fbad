// Redrives that are not over, kept in the browser: a page that is loaded anew can go on with one, and tell what it did.

import { state } from "./state.js";
import { breath } from "./dom.js";

// Of one system at one address so many are kept, the newest, each of so many letters.
const KEPT_MAX = 5, LETTERS_MAX = 100000;
const PART = 500;

let opening = null;
const opened = () => opening ??= new Promise((resolve, reject) => {
  const asked = indexedDB.open("quadrille", 1);
  asked.onupgradeneeded = () => {
    asked.result.createObjectStore("redrives", { keyPath: "key" });
    // The letters and the record of each, by its key, what they are, and their number.
    asked.result.createObjectStore("parts");
  };
  asked.onsuccess = () => resolve(asked.result);
  asked.onerror = () => { opening = null; reject(asked.error); };
});

// Does something with both stores, and waits until it is written; gives what the request that `act` returns gave.
async function within(mode, act) {
  const both = (await opened()).transaction(["redrives", "parts"], mode, { durability: "strict" });
  return new Promise((resolve, reject) => {
    const asked = act(both.objectStore("redrives"), both.objectStore("parts"));
    both.oncomplete = () => resolve(asked?.result);
    both.onerror = both.onabort = () => reject(both.error ?? new Error("it could not be written"));
  });
}

const prefix = () => JSON.stringify([state.system.name, state.system.stack, location.host]);
const partsOf = (key) => IDBKeyRange.bound([key], [key, []]);

// Those of this system at this address, the newest first.
export async function keptOnes() {
  const all = await within("readonly", (redrives) => redrives.getAll(IDBKeyRange.bound(prefix(), prefix() + "\uffff")));
  return all.reverse();
}

export const forget = ({ key }) => within("readwrite", (redrives, parts) => { redrives.delete(key); parts.delete(partsOf(key)); });

// Keeps one that begins: what was asked, and the letters. Without its head, which comes last, there is none.
export async function keep({ letters, ...how }, at) {
  if (letters.length > LETTERS_MAX) throw new Error(`more than ${LETTERS_MAX} letters`);
  for (const older of (await keptOnes()).slice(KEPT_MAX - 1)) await forget(older);
  const head = { ...how, key: prefix() + at, at, planned: letters.length, sent: 0, asked: null, lines: 0 };
  for (let from = 0; from < letters.length; from += PART) {
    const part = letters.slice(from, from + PART).map(({ queue, id, content, body, times }) => ({ queue, id, content, body, times }));
    await within("readwrite", (_, parts) => { parts.put(part, [head.key, "letters", from / PART]); });
  }
  await within("readwrite", (redrives) => { redrives.put(head); });
  return head;
}

// Writes lines of the record down, and how it stands with them.
export async function note(head, lines, how) {
  Object.assign(head, how);
  await within("readwrite", (redrives, parts) => {
    if (lines.length) parts.put(lines, [head.key, "record", head.lines++]);
    redrives.put(head);
  });
}

// All parts of one: its letters, or the lines of its record. A part at a time, so that the page stays quick.
export async function partsRead({ key }, what) {
  const all = [];
  for (let number = 0; ; number++) {
    const part = await within("readonly", (_, parts) => parts.get([key, what, number]));
    if (!part) return all;
    for (const one of part) all.push(one);
    await breath();
  }
}

// Only one tab sends: `run` is called with whether this is the one. An address that is not secure has no locks; there the engine
// alone sees to it that a letter is sent once.
export const alone = (head, run) => (navigator.locks && head ? navigator.locks.request(head.key, { ifAvailable: true }, (lock) => run(lock !== null)) : run(true));

export async function isBeingSent({ key }) {
  return (await navigator.locks?.query())?.held.some(({ name }) => name === key) ?? false;
}
