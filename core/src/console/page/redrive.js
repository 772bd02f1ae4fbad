// Sends back what a plan names, as `dlq redrive --plan` does: a part a second, stopped where too many fail again.

import { el, refill, number, many, windowed, failed, table, tell, pause, longText, route, link, note } from "./dom.js";
import { get, post, giveBack } from "./api.js";
import { download } from "./plan.js";

// Letters a second, each for a second: a mistake is seen before much is sent.
export const RAMP = [1, 2, 5, 10, 20, 50, 100];
// Letters that one request names.
const NAMED_MAX = 500;
// Of fewer letters than these no share is told.
const SHARE_OF_MIN = 20;
// How long it is waited for letters that somebody else looks at, and at the end for letters that fail again.
const HIDDEN_MILLIS = 35000, AFTERWARDS_MILLIS = 2000;
// Requests in a row that find nothing of the plan, before what is left of it counts as missing.
const FRUITLESS_MAX = 2;

const TOLD = [["sent", "sent back"], ["failed", "could not be sent, and stay"], ["left", "are other letters than were planned, or damaged, and stay"],
  ["missing", "are no longer there"], ["quarantined", "were sent back too often, and stay"], ["deadAgain", "dead letters came meanwhile"]];

async function deadIn(queue) {
  return (await get("queues")).find((one) => one.dead_letter_queue === queue)?.dead ?? 0;
}

export async function redrive(place, asked, signal) {
  const told = { planned: asked.letters.length, sent: 0, failed: 0, left: 0, missing: 0, quarantined: 0, deadAgain: 0 };
  const record = [], stays = [], counts = [];
  const write = (entry) => record.push(JSON.stringify(entry));
  const far = el("p", { role: "status" }), bar = el("progress", { max: told.planned, "aria-label": "Letters sent back" }), result = el("div");
  let isStopped = false;
  const stop = el("button", { type: "button", class: "act", onclick: () => { isStopped = true; } }, "Stop");
  const leaves = (event) => event.preventDefault();
  addEventListener("beforeunload", leaves);
  const hint = note("It stops where this view is left; what was not sent stays where it is.");
  refill(place, el("h2", null, "The redrive"), far, bar, hint, stop, result);
  const say = () => {
    bar.value = told.sent;
    far.textContent = `${number(told.sent)} of ${many(told.planned, "letter")} sent back, ${many(told.deadAgain, "dead letter")} came meanwhile.`;
  };
  say();
  const at = () => new Date().toISOString();
  write({ begun: { at: at(), by: asked.by, why: asked.why, letters: told.planned } });
  const waiting = Map.groupBy(asked.letters.filter((letter) => {
    const isLeft = letter.times >= asked.quarantineAfter;
    if (isLeft) { told.quarantined += 1; stays.push([letter, `sent back ${letter.times} times before`]); }
    return !isLeft;
  }), ({ queue }) => queue);
  let seconds = 0, outcome = null;
  const one = { asked, told, stays, counts, write, say, at, isStopped: () => isStopped || signal.aborted,
    rate: () => asked.rate ?? RAMP[Math.min(seconds++, RAMP.length - 1)] };
  try {
    for (const [queue, letters] of waiting) await ofQueue(one, queue, letters);
  } catch (error) { outcome = error; }
  removeEventListener("beforeunload", leaves);
  stop.remove();
  hint.remove();
  say();
  const rest = windowed("letters that stay", (from, to) => table("Letters that stay", [
    ["letter", ([letter]) => link(route("letter", letter.queue, letter.id), letter.id)], ["queue", ([{ queue }]) => queue], ["why", ([, why]) => longText(why, { first: 200 })]],
  stays.slice(from, to)), { rows: 50 });
  refill(result, outcome && failed(outcome),
    el("ul", { class: "told" }, TOLD.filter(([name]) => name === "sent" || told[name]).map(([name, text]) => el("li", null, `${number(told[name])} ${text}`))),
    table("Counts before and after", [["dead-letter queue", ({ queue }) => queue], ["before", ({ before }) => number(before), "number"],
      ["sent back", ({ sent }) => number(sent), "number"], ["came meanwhile", ({ again }) => number(again), "number"], ["after", ({ after }) => number(after), "number"]], counts),
    stays.length ? rest : null,
    el("p", { class: "actions" }, el("button", { type: "button", onclick: () => download(record, "plan.jsonl.record") }, "Download the record of each letter")));
  if (stays.length) rest.show(stays.length);
  tell(far.textContent);
}

async function ofQueue(one, queue, letters) {
  const { asked, told, stays, write, at } = one;
  const waiting = new Map(letters.map((letter) => [letter.id, letter]));
  const before = await deadIn(queue), sentBefore = told.sent;
  const count = { queue, before, sent: 0, again: 0, after: before };
  one.counts.push(count);
  const look = async () => {
    count.after = await deadIn(queue);
    count.sent = told.sent - sentBefore;
    count.again = Math.max(count.again, count.after + count.sent - before);
    told.deadAgain = Math.max(told.deadAgain, one.counts.reduce((sum, { again }) => sum + again, 0));
    one.say();
  };
  const passed = [];
  let fruitless = 0, idleSince = performance.now();
  try {
    while (waiting.size && fruitless < FRUITLESS_MAX + before / 500) {
      if (one.isStopped()) throw new Error("stopped: what was not sent is where it was; a new plan names it");
      const began = performance.now();
      const named = [...waiting.values()].slice(0, NAMED_MAX);
      write({ sending: { queue, ids: named.map(({ id }) => id) } });
      const ask = { queue, letters: Object.fromEntries(named.map(({ id, content, body }) => [id, body === undefined ? { content } : { content, body }])),
        limit: one.rate(), by: asked.by, why: asked.why, ...(asked.to ? { to: asked.to } : {}) };
      const step = await post("redrive-planned", ask);
      passed.push(...step.passed_over);
      const results = Object.entries(step.results);
      for (const [id, result] of results) {
        const letter = waiting.get(id);
        told[result.result] += 1;
        if (result.result !== "sent") stays.push([letter, result.why]);
        write({ letter: { at: at(), queue, id, ...result, ...(letter?.body === undefined ? {} : { body: letter.body }) } });
        waiting.delete(id);
      }
      if (results.length) { fruitless = 0; idleSince = performance.now(); }
      else {
        if (!(step.hidden > 0 && performance.now() - idleSince < HIDDEN_MILLIS)) fruitless += 1;
        await pause(500);
      }
      // All was looked at. It is shown again, and looked for once more.
      if (step.done) await giveBack(queue, passed);
      await look();
      if (asked.stopAt !== null && count.again * 100 > asked.stopAt * Math.max(count.sent, SHARE_OF_MIN)) {
        throw new Error(`stopped: of ${many(count.sent, "letter")} ${number(count.again)} failed again`);
      }
      if (waiting.size && results.length) await pause(Math.max(0, 1000 - (performance.now() - began)));
    }
    told.missing += waiting.size;
    for (const letter of waiting.values()) stays.push([letter, "it is no longer there"]);
    const end = performance.now() + AFTERWARDS_MILLIS;
    while (count.sent && count.again < count.sent && performance.now() < end) { await pause(200); await look(); }
  } finally {
    await giveBack(queue, passed);
  }
}
