// A redrive is a plan: which letters, each with what this build would do with it, and then the redrive of just these.

import { el, refill, field, choice, time, number, many, windowed, failed, table, tell, route, note, breath, cut, longText } from "./dom.js";
import { get, post, giveBack } from "./api.js";
import { deadLetterQueues, mayAct, state } from "./state.js";
import { confirmed } from "./confirm.js";
import { filterOf, toldFilter } from "./filter.js";
import { download } from "./file.js";
import { readOnly } from "./flow.js";
import { redrive, offers, RAMP } from "./redrive.js";

// The version of the plan's file, as `dlq plan` writes it and `dlq redrive --plan` reads it.
const VERSION = 1;
const PAGE = 100;

// In a few words, as the command says it.
export function summary(trial, reason) {
  switch (trial.outcome) {
    case "done": return "done";
    case "duplicate": return "a duplicate";
    case "fails": return trial.reason === reason ? "fails again" : `fails: ${trial.reason}`;
    case "unreadable": return "unreadable";
    default: return `unknown: ${trial.why}`;
  }
}
const SIGNS = { done: "✔", "a duplicate": "=", unreadable: "✘" };
const signOf = (outcome) => SIGNS[outcome] ?? (outcome.startsWith("fails") ? "✘" : "?");

// The one letter that the next plan is about, with its other body where it has one.
let only = null;
export function planOne(queue, letter, body) {
  only = { id: letter.id, body };
  location.hash = route("plan", { queue, subject: letter.subject, reason: letter.reason, handler: letter.handler, only: letter.id, go: 1 });
}

export async function planView(root, parts, asked, signal) {
  const queues = deadLetterQueues();
  const inputs = {};
  const input = (name, text, props) => field(text, (inputs[name] = el("input", { name, value: asked[name] ?? "", autocomplete: "off", spellcheck: "false", ...props })));
  inputs.queue = choice([["", "all queues"], ...queues.map((queue) => [queue, queue])], asked.queue ?? "", { name: "queue" });
  inputs.ends = el("input", { type: "checkbox", name: "ends", checked: asked.ends === "1" });
  const place = el("div"), left = el("div"), running = el("div");
  const again = (event) => {
    event.preventDefault();
    const { ends, ...texts } = inputs;
    const wanted = Object.fromEntries(Object.entries(texts).map(([name, { value }]) => [name, value.trim()]));
    location.hash = route("plan", { ...wanted, ends: ends.checked ? 1 : "", go: Number(asked.go ?? 0) + 1 });
  };
  refill(root, el("h1", { tabindex: -1 }, "Plan of a redrive"),
    left, running, note("Each letter is tried on a copy of the state, with every effect held back. Nothing is changed by a plan."),
    asked.only ? el("p", null, `Only the letter ${cut(asked.only, 100)}.`) : el("form", { onsubmit: again, "aria-label": "Which letters" },
      field("queue", inputs.queue), input("reason", "reason"), input("handler", "by"), input("subject", "entity's id"),
      input("since", "given up since", { placeholder: "2026-11-30T09:00:00Z" }), input("before", "given up before", { placeholder: "2026-11-30T10:00:00Z" }),
      el("label", { class: "check" }, inputs.ends, " with those that are an end of business"), el("button", null, "Make the plan")),
    place);
  // Where an earlier one is gone on with, this view is about that one.
  const making = new AbortController();
  const stops = () => { making.abort(); refill(place); };
  signal.addEventListener("abort", stops);
  offers(left, running, stops, signal);
  if (asked.go) await make(place, asked, queues, making.signal);
}

async function make(place, asked, queues, signal) {
  const one = asked.only ? { id: asked.only, body: only?.id === asked.only ? only.body : undefined } : null;
  const filter = Object.fromEntries(Object.entries(filterOf(asked)).filter(([, value]) => value));
  // Asked for by its reason, an end is meant.
  filter.leaves_ends = asked.ends !== "1" && !filter.reason;
  const plan = { at: new Date(), letters: [], groups: new Map(), endsLeft: 0, filter };
  let isStopped = false;
  const far = el("p", { role: "status" }), result = el("div");
  const stop = el("button", { type: "button", onclick: () => { isStopped = true; } }, "stop");
  refill(place, far, stop, result);
  try {
    for (const queue of asked.queue ? [asked.queue] : queues) {
      const bodies = one?.body === undefined ? {} : { [one.id]: one.body };
      const ask = { queue, filter, after: 0, limit: PAGE, bodies };
      const held = [], met = new Set();
      try {
        while (ask.after !== null && !isStopped && !signal.aborted) {
          // It is waited for, though nobody looks any longer: it names what it has hidden.
          const page = await post("plan", ask);
          const isReceived = page.held?.length > 0;
          held.push(...(page.held ?? []));
          plan.endsLeft += page.ends_left ?? 0;
          for (const letter of page.letters) {
            if (one && letter.id !== one.id) continue;
            if (isReceived && met.has(letter.id)) continue;
            if (isReceived) met.add(letter.id);
            add(plan, letter);
          }
          ask.after = page.next ?? null;
          // Its letters are tried behind those before them.
          ask.plan = page.plan;
          far.textContent = `${many(plan.letters.length, "letter")} tried …`;
          await breath();
        }
      } finally {
        await giveBack(queue, held);
      }
    }
  } catch (error) {
    if (!signal.aborted) refill(result, failed(error));
    stop.remove();
    return;
  }
  stop.remove();
  if (signal.aborted) return;
  far.textContent = `${many(plan.letters.length, "letter")} tried${isStopped ? "; stopped, so that the plan is of a part" : ""}. Nothing was changed.`
    + (plan.endsLeft ? ` ${number(plan.endsLeft)} left out, an end of business.` : "");
  tell(far.textContent);
  chosen(result, plan, signal);
}

function add(plan, letter) {
  const outcome = summary(letter.trial, letter.reason);
  const key = JSON.stringify([letter.queue, letter.reason, letter.handler, outcome]);
  let group = plan.groups.get(key);
  if (!group) {
    const { queue, reason, handler, deadline } = letter;
    group = { queue, reason, handler, outcome, deadline, count: 0, isChosen: outcome === "done", example: letter.trial };
    plan.groups.set(key, group);
  }
  group.count += 1;
  if (letter.deadline < group.deadline) group.deadline = letter.deadline;
  const { queue, id, content, body, redriven } = letter;
  plan.letters.push({ queue, id, content, body, times: redriven?.times ?? 0, group, line: JSON.stringify(letter) });
}

// What the plan tells, and what is to be done with which part of it.
function chosen(place, plan, signal) {
  const groups = [...plan.groups.values()].sort((one, other) => other.count - one.count);
  const all = plan.letters.length;
  const count = () => groups.reduce((sum, group) => sum + (group.isChosen ? group.count : 0), 0);
  const how = el("p", { class: "chosen-count" }), act = el("div"), running = el("div");
  const list = windowed("groups", (from, to) => table("Outcomes of the plan", [
    ["send", (group) => el("input", { type: "checkbox", checked: group.isChosen, "aria-label": `${number(group.count)} that are ${group.outcome}`,
      onchange: (event) => { group.isChosen = event.target.checked; say(); } })],
    ["letters", (group) => number(group.count), "number"], ["what would happen", (group) => el("strong", null, `${signOf(group.outcome)} ${cut(group.outcome, 200)}`)],
    ["queue", (group) => group.queue], ["reason", (group) => cut(group.reason, 100)], ["by", (group) => cut(group.handler, 100)],
    ["first dropped", (group) => time(group.deadline)],
    ["for example", ({ example }) => longText(example.what ?? example.why ?? example.detail ?? "", { first: 160 })]], groups.slice(from, to)), { rows: 50 });
  const say = () => {
    how.textContent = `${number(count())} of ${many(all, "letter")} chosen.`;
    refill(act, actions());
  };
  const actions = () => {
    const wanted = count();
    const file = el("button", { type: "button", disabled: !wanted, onclick: () => download(fileOf(plan), "plan.jsonl") }, `Download the plan of ${many(wanted, "letter")}`);
    if (!mayAct()) return [el("p", { class: "actions" }, file), note("`dlq redrive --plan FILE` sends what such a file names."), readOnly("send letters back from here")];
    return [el("p", { class: "actions" }, file), sendForm(plan, wanted, running, place, signal)];
  };
  refill(place, list, how, act, running);
  list.show(groups.length);
  say();
}

// The chosen letters as `dlq plan --out` writes them.
function* fileOf(plan) {
  const { name: system, version: build } = state.system;
  yield JSON.stringify({ plan: VERSION, system, at: plan.at.toISOString(), build });
  for (const letter of plan.letters) if (letter.group.isChosen) yield letter.line;
}

function sendForm(plan, wanted, running, place, signal) {
  const queues = state.flow.nodes.filter(({ sort }) => sort === "queue").map(({ name }) => name);
  const by = el("input", { name: "by", required: true, maxlength: 100, autocomplete: "off", value: sessionStorage.getItem("quadrille-by") ?? "" });
  const why = el("input", { name: "why", maxlength: 300, autocomplete: "off" });
  const rate = choice([["", `${RAMP.join(", ")} …`], ...["1", "5", "20", "100", "500"].map((each) => [each, each])], "", { name: "rate" });
  const stopAt = el("input", { name: "stop-at", type: "number", min: 0, max: 100, value: "5" });
  const quarantine = el("input", { name: "quarantine", type: "number", min: 1, value: "3" });
  const to = choice([["", "the queue each came from"], ...queues.map((queue) => [queue, queue])], "", { name: "to" });
  const send = async (event) => {
    event.preventDefault();
    const letters = plan.letters.filter(({ group }) => group.isChosen);
    const from = [...new Set(letters.map(({ queue }) => queue))];
    const where = to.value || from.map((queue) => state.queues.find((one) => one.dead_letter_queue === queue)?.name ?? sourceOf(queue)).join(", ");
    sessionStorage.setItem("quadrille-by", by.value);
    const asked = { letters, by: by.value, why: why.value, rate: Number(rate.value) || null, stopAt: stopAt.value === "" ? null : Number(stopAt.value),
      quarantineAfter: Number(quarantine.value) || 1, to: to.value || null };
    const what = `Send ${number(letters.length)} of ${many(plan.letters.length, "letter")} of ${from.join(", ")} back to ${where}`;
    const outcomes = [...plan.groups.values()].filter(({ isChosen }) => isChosen).map((group) => `${number(group.count)}: ${group.outcome} (${cut(group.reason, 60)} by ${cut(group.handler, 60)})`);
    const lines = [`${what}.`, ...outcomes.slice(0, 10), outcomes.length > 10 ? `… and ${outcomes.length - 10} groups more.` : null,
      `Chosen by: ${toldFilter(filterOf(plan.filter))}. It stops where more than ${asked.stopAt ?? 100} % fail again; those sent back ${asked.quarantineAfter} times or more stay.`];
    if (!await confirmed(what, lines.filter(Boolean), `Send ${many(letters.length, "letter")} back`)) return;
    form.remove();
    place.querySelectorAll("input, .actions button").forEach((node) => { node.disabled = true; });
    await redrive(running, asked, signal);
  };
  const form = el("form", { onsubmit: send, "aria-label": "Send them back" }, field("your name", by), field("why", why), field("a second", rate), field("stop at % failed again", stopAt),
    field("leave those sent back so often", quarantine), field("to", to), el("button", { class: "act", disabled: !wanted }, `Send ${number(wanted)} of ${many(plan.letters.length, "letter")} back …`));
  return form;
}

// The queue that a dead-letter queue's letters came from, by the flow.
function sourceOf(queue) {
  return state.flow.nodes.find(({ sort, dead_letter_queue: dead }) => (sort === "queue" || sort === "step") && dead === queue)?.name ?? "where they came from";
}
