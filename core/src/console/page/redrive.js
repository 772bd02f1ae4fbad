// Sends back what a plan names, as `dlq redrive --plan` does: a part a second, stopped where too many fail again.

import { el, refill, number, many, windowed, failed, table, tell, pause, longText, route, link, note, time, cut, breath, now } from "./dom.js";
import { get, post, giveBack } from "./api.js";
import { state, mayAct } from "./state.js";
import { confirmed } from "./confirm.js";
import { download } from "./file.js";
import * as kept from "./kept.js";

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
  ["missing", "are no longer there"], ["quarantined", "were sent back too often, and stay"],
  ["earlier", "were sent back before it was broken off"], ["unsure", "may have been sent when it was broken off, and stay: a look at their entities tells"], ["deadAgain", "dead letters came meanwhile"]];

async function deadIn(queue) {
  return (await get("queues")).find((one) => one.dead_letter_queue === queue)?.dead ?? 0;
}

const keyOf = ({ queue, id }) => JSON.stringify([queue, id]);
const nothing = () => ({ record: [], sent: new Set(), unanswered: new Set() });

// Begins a redrive, and keeps it until it is over.
export async function redrive(place, asked, signal) {
  let head = null, why = "";
  try {
    head = await kept.keep(asked, new Date(now()).toISOString());
  } catch (error) { why = ` It can't be kept in this browser (${cut(error.message, 100)}): it can't be gone on with, and has no record, where the page is loaded anew.`; }
  await kept.alone(head, () => run(place, asked, signal, head, nothing(), why));
}

// Goes on with one that was broken off. What its last request has named, and what was not answered, nobody knows to be sent or not.
async function goOn(place, head, signal) {
  const letters = await kept.partsRead(head, "letters");
  const before = { ...nothing(), record: await kept.partsRead(head, "record") };
  for (const [at, line] of before.record.entries()) {
    const { letter } = JSON.parse(line);
    if (letter?.result === "sent") before.sent.add(keyOf(letter));
    if (at % 1000 === 999) await breath();
  }
  for (const id of head.asked?.ids ?? []) before.unanswered.add(keyOf({ queue: head.asked.queue, id }));
  await run(place, { ...head, letters }, signal, head, before, "");
}

// Tells of those that were broken off, and offers what can be done with each; `begins` is called where one is gone on with.
export async function offers(place, running, begins, signal) {
  const ones = await kept.keptOnes().catch(() => []);
  const told = [];
  for (const head of ones) told.push(offer(head, await kept.isBeingSent(head), place, running, begins, signal));
  if (!signal.aborted) refill(place, told);
}

function offer(head, isSent, place, running, begins, signal) {
  const what = `${number(head.sent)} of ${many(head.planned, "letter")} sent`;
  const again = () => offers(place, running, begins, signal);
  const wrong = el("div");
  const button = (name, act, how) => [" ", el("button", { type: "button", class: how, onclick: () => act().catch((error) => refill(wrong, failed(error))) }, name)];
  const on = async () => {
    const left = head.planned - head.sent;
    const lines = [`${what}. The other ${number(left)} are sent back, as it was begun: by ${head.by}${head.why ? `, ${cut(head.why, 200)}` : ""}${head.to ? `, to ${head.to}` : ""}.`,
      "What its last request has sent without an answer is not sent again."];
    if (!await confirmed("Go on with the redrive", lines, `Send the other ${number(left)} back`)) return;
    await kept.alone(head, async (isAlone) => {
      if (!isAlone) return again();
      refill(place);
      begins();
      await goOn(running, head, signal);
    });
  };
  const forgets = async () => {
    if (!await confirmed("Forget the redrive", ["Its record is deleted in this browser. What was sent stays sent, and the rest stays where it is."], "Forget it")) return;
    await kept.forget(head);
    await again();
  };
  return el("section", { class: "kept", "aria-label": "A redrive that is not over" },
    el("p", null, isSent ? "A redrive is being sent, in another tab or by a request that is not answered yet: it is of " : "A redrive was broken off: it is of ", time(head.at), ` by ${cut(head.by, 100)}, ${what}.`),
    el("p", { class: "actions" }, isSent ? button("Look again", again) : [mayAct() ? button("Go on with it …", on, "act") : null, button("Forget it …", forgets)],
      button("Download its record so far", async () => download(await kept.partsRead(head, "record"), "plan.jsonl.record"))), wrong);
}

async function run(place, asked, signal, head, before, unkept) {
  const told = { planned: asked.letters.length, earlier: 0, sent: 0, failed: 0, left: 0, missing: 0, quarantined: 0, unsure: 0, deadAgain: 0 };
  const { record } = before, stays = [], counts = [];
  let isStopped = false, isKept = head !== null, written = record.length;
  // Writes down what was told since, before anything else is done.
  const keeps = async (requested) => {
    if (!isKept) return;
    const lines = record.slice(written);
    written = record.length;
    try { await kept.note(head, lines, { sent: told.earlier + told.sent, asked: requested }); } catch (error) {
      isKept = false;
      hint.textContent = `It can't be kept in this browser any longer (${cut(error.message, 100)}).`;
    }
  };
  const write = (entry) => record.push(JSON.stringify(entry));
  const far = el("p", { role: "status" }), bar = el("progress", { max: told.planned, "aria-label": "Letters sent back" }), result = el("div");
  const stop = el("button", { type: "button", class: "act", onclick: () => { isStopped = true; } }, "Stop");
  const leaves = (event) => event.preventDefault();
  addEventListener("beforeunload", leaves);
  const hint = note(`It stops where this view is left. What was not sent stays where it is, and can be gone on with here.${unkept}`);
  refill(place, el("h2", null, "The redrive"), far, bar, hint, stop, result);
  const say = () => {
    bar.value = told.earlier + told.sent;
    far.textContent = `${number(told.earlier + told.sent)} of ${many(told.planned, "letter")} sent back, ${many(told.deadAgain, "dead letter")} came meanwhile.`;
  };
  const at = () => new Date().toISOString();
  write({ begun: { at: at(), by: asked.by, why: asked.why, letters: told.planned } });
  const waiting = Map.groupBy(asked.letters.filter((letter) => {
    const key = keyOf(letter);
    if (before.sent.has(key)) { told.earlier += 1; return false; }
    const why = letter.times >= asked.quarantineAfter ? ["quarantined", `sent back ${letter.times} times before`]
      // What an engine sends and deletes in one write was not sent where it is still there.
      : state.system.target === "aws" && before.unanswered.has(key) ? ["unsure", "it may have been sent when it was broken off"] : null;
    if (why) { told[why[0]] += 1; stays.push([letter, why[1]]); }
    return !why;
  }), ({ queue }) => queue);
  say();
  await keeps(null);
  // Seconds of what may be sent in each: a request that met fewer letters took a part of one.
  let seconds = 0, outcome = null;
  const one = { asked, told, stays, counts, write, keeps, say, at, isStopped: () => isStopped || signal.aborted, unanswered: before.unanswered,
    rate: () => asked.rate ?? RAMP[Math.min(Math.floor(seconds), RAMP.length - 1)], used: (share) => { seconds += share; } };
  try {
    for (const [queue, letters] of waiting) await ofQueue(one, queue, letters);
    if (head) await kept.forget(head).catch(() => {});
  } catch (error) { outcome = error; }
  removeEventListener("beforeunload", leaves);
  stop.remove();
  hint.remove();
  say();
  const rest = windowed("letters that stay", (from, to) => table("Letters that stay", [
    ["letter", ([letter]) => link(route("letter", letter.queue, letter.id), letter.id)], ["queue", ([{ queue }]) => queue], ["why", ([, why]) => longText(why, { first: 200 })]],
  stays.slice(from, to)), { rows: 50 });
  refill(result, outcome && failed(outcome), outcome && isKept && el("p", null, link(route("plan", { kept: record.length }), "Go on with it, or forget it")),
    el("ul", { class: "told" }, TOLD.filter(([name]) => name === "sent" || told[name]).map(([name, text]) => el("li", null, `${number(told[name])} ${text}`))),
    table("Counts before and after", [["dead-letter queue", ({ queue }) => queue], ["before", ({ before }) => number(before), "number"],
      ["sent back", ({ sent }) => number(sent), "number"], ["came meanwhile", ({ again }) => number(again), "number"], ["after", ({ after }) => number(after), "number"]], counts),
    stays.length ? rest : null,
    el("p", { class: "actions" }, el("button", { type: "button", onclick: () => download(record, "plan.jsonl.record") }, "Download the record of each letter")));
  if (stays.length) rest.show(stays.length);
  tell(far.textContent);
}

async function ofQueue(one, queue, letters) {
  const { asked, told, stays, write, keeps, at } = one;
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
      if (one.isStopped()) throw new Error("stopped: what was not sent is where it was");
      const began = performance.now();
      const named = [...waiting.values()].slice(0, NAMED_MAX), limit = one.rate();
      write({ sending: { queue, ids: named.map(({ id }) => id) } });
      const ask = { queue, letters: Object.fromEntries(named.map(({ id, content, body }) => [id, body === undefined ? { content } : { content, body }])),
        limit, by: asked.by, why: asked.why, ...(asked.to ? { to: asked.to } : {}) };
      await keeps({ queue, ids: Object.keys(ask.letters) });
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
      await keeps(null);
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
      const share = results.length / limit;
      one.used(share);
      if (waiting.size && share) await pause(Math.max(0, share * 1000 - (performance.now() - began)));
    }
    told.missing += waiting.size;
    for (const letter of waiting.values()) {
      stays.push([letter, one.unanswered.has(keyOf(letter)) ? "it is no longer there: the request that named it was not answered when it was broken off" : "it is no longer there"]);
    }
    const end = performance.now() + AFTERWARDS_MILLIS;
    while (count.sent && count.again < count.sent && performance.now() < end) { await pause(200); await look(); }
  } finally {
    await giveBack(queue, passed);
  }
}
