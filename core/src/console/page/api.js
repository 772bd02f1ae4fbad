// Asks the engine, with the token where it wants one.

const AT = "/_quadrille/";
const TOKEN = "quadrille-token";

// What the engine says is wrong.
class Problem extends Error {
  constructor(status, told) {
    const reason = told?.type?.split("/").at(-1) ?? status;
    super(told?.detail ? `${told.detail} (${reason})` : `the engine answered ${status}`);
    this.status = status;
  }
}

export const token = () => sessionStorage.getItem(TOKEN);

export function setToken(text) {
  if (text) sessionStorage.setItem(TOKEN, text); else sessionStorage.removeItem(TOKEN);
}

// Called where the engine wants a token that it has not got.
let onLocked = () => {};
export function whenLocked(call) { onLocked = call; }

export function headers(more) {
  const held = token();
  return { ...(held ? { Authorization: `Bearer ${held}` } : {}), ...more };
}

export const address = (path) => AT + path;

export async function answerOf(response) {
  if (response.ok) return response.status === 204 ? null : response.json();
  if (response.status === 401) onLocked();
  const told = await response.json().catch(() => null);
  throw new Problem(response.status, told);
}

async function ask(path, options) {
  let response;
  try {
    response = await fetch(address(path), { ...options, cache: "no-store", redirect: "error" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { detail: "the engine can't be reached", type: "no_answer" });
  }
  return answerOf(response);
}

export const get = (path, signal) => ask(path, { headers: headers(), signal });

export const post = (path, body, signal) => ask(path, {
  method: "POST", body: JSON.stringify(body), headers: headers({ "Content-Type": "application/json" }), signal,
});

export function query(asked) {
  const pairs = Object.entries(asked).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return pairs.map(([name, value]) => `${name}=${encodeURIComponent(String(value).toWellFormed())}`).join("&");
}

const GIVEN_BACK_AT_ONCE = 1000;

// Shows letters again that a look at them has hidden, as queues of AWS do it.
export async function giveBack(queue, receipts) {
  while (receipts.length) {
    await post("give-back", { queue, receipts: receipts.splice(0, GIVEN_BACK_AT_ONCE) });
  }
}

// What is big is read by a worker, so that the page never waits for it.
let worker = null, asked = 0;
const waiting = new Map();
export function aside(what, ...given) {
  if (!worker) {
    worker = new Worker(address("console/aside.js"), { type: "module" });
    worker.onmessage = ({ data: { id, done, problem } }) => {
      const { resolve, reject } = waiting.get(id);
      waiting.delete(id);
      if (!problem) return resolve(done);
      if (problem.status === 401) onLocked();
      reject(new Problem(problem.status, problem.told));
    };
  }
  return new Promise((resolve, reject) => {
    const id = ++asked;
    waiting.set(id, { resolve, reject });
    worker.postMessage({ id, what, given });
  });
}
