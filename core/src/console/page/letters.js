// Dead letters: in groups, then one by one, then one of them as a whole.

import { el, refill, link, time, number, many, field, longText, windowed, failed, table, tell, route, note, breath, cut, now } from "./dom.js";
import { get, post, query, giveBack, aside, headers, address } from "./api.js";
import { deadLetterQueues, mayAct, state } from "./state.js";
import { confirmed } from "./confirm.js";
import { readOnly } from "./flow.js";
import { redrivenText } from "./story.js";
import { planOne } from "./plan.js";
import { filterOf, toldFilter } from "./filter.js";

const keyOf = (...parts) => JSON.stringify(parts);

const HOUR_MILLIS = 3600000, DAY_MILLIS = 24 * HOUR_MILLIS;
// Ages that letters are counted and chosen by, each by the engine's name: younger than the first, and not than the second.
const AGES = [["under_an_hour", "under an hour ago", HOUR_MILLIS, 0], ["under_a_day", "an hour to a day ago", DAY_MILLIS, HOUR_MILLIS], ["older", "a day ago or more", 0, DAY_MILLIS]];
const past = (millis) => new Date(now() - millis).toISOString();
// Both ends belong to what is chosen.
const ofAge = ([, , younger, older]) => ({ since: younger ? past(younger - 1) : "", before: older ? past(older) : "" });

// How many of a group are of an age, leading to them. An engine that is older than this page tells none.
const AGE_COLUMNS = AGES.map((age) => [age[1], ({ ages, ...group }) => {
  const count = ages?.[age[0]] ?? null;
  return count ? link(route("letters", group.queue, { ...asksFor(group), ...ofAge(age) }), number(count), el("span", { class: "unseen" }, ` given up ${age[1]}`)) : count ?? "–";
}, "number"]);

// What asks for the letters of a group. What is in no group of its own has no reason in common.
const asksFor = ({ reason, handler }) => (reason === "others" && !handler ? {} : { reason, handler });

// The groups of all dead letters, of one queue, or of one handler.
export async function lettersView(root, [queue], asked, signal) {
  if (queue) return listView(root, queue, asked, signal);
  const queues = asked.queue ? [asked.queue] : deadLetterQueues();
  const groups = new Map();
  let looked = 0, isOver = false, shown = [], drawn = 0;
  const far = el("p", { role: "status" }), wrong = el("div");
  const list = windowed("groups", (from, to) => table("Dead letters in groups", [
    ["letters", ({ count }) => number(count), "number"], ["queue", (group) => group.queue],
    ["reason", (group) => [el("strong", null, cut(group.reason, 100)), group.is_end ? " (an end of business)" : ""]], ["by", ({ handler }) => cut(handler, 100)],
    ...AGE_COLUMNS, ["oldest", ({ first }) => time(first)], ["newest", ({ last }) => time(last)], ["first dropped", ({ deadline }) => time(deadline)],
    ["", (group) => [link(route("letters", group.queue, asksFor(group)), "show them"), " ",
      link(route("plan", { queue: group.queue, ...asksFor(group), go: 1 }), "plan a redrive")]],
  ], shown.slice(from, to)), { rows: 50 });
  refill(root, el("h1", { tabindex: -1 }, asked.queue ? `Dead letters in ${asked.queue}` : asked.handler ? `Dead letters by ${asked.handler}` : "Dead letters"),
    asked.queue || asked.handler ? el("p", null, link(route("letters"), "all dead letters")) : null, far, wrong, list,
    el("p", null, link(route("plan", { queue: asked.queue, handler: asked.handler }), "Plan a redrive of others than a group")),
    mayAct() ? null : readOnly("send letters back, or to delete them"));
  const draw = () => {
    shown = [...groups.values()].filter((group) => !asked.handler || group.handler === asked.handler)
      .sort((one, other) => (one.last < other.last ? 1 : one.last > other.last ? -1 : 0));
    const all = shown.reduce((sum, { count }) => sum + count, 0);
    far.textContent = `${many(all, "dead letter")} in ${many(shown.length, "group")}${isOver ? `; that is all of ${many(queues.length, "queue")}.` : `; looked at ${number(looked)} …`}`;
    return list.show(shown.length);
  };
  try {
    for (const queue of queues) {
      await eachPage(queue, (after) => get(`dead-letter-groups?${query({ queue, after })}`), signal, async (page) => {
        looked += page.looked_at;
        for (const group of page.groups) {
          const key = keyOf(queue, group.reason, group.handler, group.is_end);
          const known = groups.get(key);
          if (!known) groups.set(key, { ...group, queue });
          else {
            known.count += group.count;
            for (const [age] of AGES) if (group.ages) known.ages[age] += group.ages[age];
            if (group.first < known.first) known.first = group.first;
            if (group.last > known.last) known.last = group.last;
            if (group.deadline < known.deadline) known.deadline = group.deadline;
          }
        }
        if (performance.now() - drawn > 300) { await draw(); drawn = performance.now(); }
        return true;
      });
    }
    if (signal.aborted) return;
    isOver = true;
    await draw();
    tell(far.textContent);
  } catch (error) {
    if (!signal.aborted) refill(wrong, failed(error));
  }
}

// Goes from page to page until `each` says that it is enough. What that has hidden is shown again at once, or by who gives `held`.
// A question that is asked is waited for, though nobody looks any longer: its answer names what it has hidden.
async function eachPage(queue, read, signal, each, { start = 0, held = null } = {}) {
  const hidden = held ?? [];
  let after = start;
  try {
    while (after !== null && after !== undefined && !signal.aborted) {
      const page = await read(after);
      hidden.push(...(page.held ?? []));
      after = page.next ?? null;
      if (signal.aborted || !await each(page)) break;
      await breath();
    }
    return after;
  } finally {
    if (!held || signal.aborted) await giveBack(queue, hidden);
  }
}

const read = (queue, asked, after, limit, id) =>
  aside("letters", address(`dead-letters?${query({ queue, ...filterOf(asked), after, limit })}`), headers(), id);

const ROWS = 20, LOOKS_MAX = 20;

// The letters of a queue that are asked for, a page at a time.
async function listView(root, queue, asked, signal) {
  const starts = [0], held = [];
  let at = 0, next = null;
  // Where a look hides letters, the next page shows others only as long as these stay hidden.
  signal.addEventListener("abort", () => giveBack(queue, held).catch(() => tell("the letters that were looked at show themselves again in a minute")));
  const place = el("div"), where = el("span", { class: "where", role: "status" });
  const back = el("button", { type: "button", onclick: () => { at = held.length ? 0 : at - 1; draw(); } }, "← back");
  const on = el("button", { type: "button", onclick: () => { at += 1; starts[at] = next; draw(); } }, "on →");
  const inputs = {};
  const input = (name, text, props) => field(text, (inputs[name] = el("input", { name, value: asked[name] ?? "", autocomplete: "off", spellcheck: "false", ...props })));
  const choose = (event) => {
    event.preventDefault();
    location.hash = route("letters", queue, Object.fromEntries(Object.entries(inputs).map(([name, { value }]) => [name, value.trim()])));
  };
  const purge = async ({ target }) => {
    target.disabled = true;
    await purgeAsked();
    target.disabled = false;
  };
  const purgeAsked = async () => {
    const filter = filterOf(asked);
    // What comes from now on is in nobody's mind.
    filter.before ||= new Date(now()).toISOString();
    try {
      refill(done, note("counting …"));
      const count = many(await counted(queue, filter, signal), "letter");
      refill(done);
      const lines = [`${count} of ${queue} would be deleted for good: ${toldFilter(filter)}.`, "Nobody can bring them back."];
      if (!await confirmed(`Delete ${count} of ${queue}`, lines, `Delete ${count} for good`)) return;
      refill(done, el("p", { class: "good", role: "status" }, `✔ ${many(await purged(queue, filter, signal), "letter")} deleted`));
      await draw();
    } catch (error) { if (!signal.aborted) refill(done, failed(error)); }
  };
  const done = el("div");
  refill(root, el("h1", { tabindex: -1 }, `Dead letters in ${queue}`), el("p", null, link(route("letters"), "all dead letters")),
    el("form", { onsubmit: choose, "aria-label": "Which letters" }, input("reason", "reason"), input("handler", "by"), input("subject", "entity's id"),
      input("since", "given up since", { placeholder: "2026-11-30T09:00:00Z" }), input("before", "given up before", { placeholder: "2026-11-30T10:00:00Z" }), el("button", null, "Show")),
    el("p", null, "Given up: ", AGES.flatMap((age) => [link(route("letters", queue, { ...asked, ...ofAge(age) }), age[1]), " · "]),
      link(route("letters", queue), "at any time, for any reason")),
    el("p", { class: "actions" }, link(route("plan", { queue, ...asked, go: 1 }), "Plan a redrive of these"),
      mayAct() ? [" ", el("button", { type: "button", class: "act", onclick: purge }, "Delete these …")] : null),
    mayAct() ? null : readOnly("send letters back, or to delete them"), done,
    el("p", { class: "bar", role: "group", "aria-label": "Pages" }, back, where, on), place);
  async function draw() {
    back.disabled = on.disabled = true;
    where.textContent = "looking …";
    const letters = [];
    let looks = 0;
    try {
      if (at === 0) await giveBack(queue, held);
      next = await eachPage(queue, (after) => read(queue, asked, after, ROWS - letters.length), signal, (page) => {
        letters.push(...page.letters);
        return letters.length < ROWS && ++looks < LOOKS_MAX;
      }, { start: starts[at], held });
    } catch (error) {
      if (!signal.aborted) { where.textContent = ""; back.disabled = at === 0; refill(place, failed(error)); }
      return;
    }
    if (signal.aborted) return;
    back.disabled = at === 0;
    on.disabled = next === null;
    where.textContent = `page ${number(at + 1)}: ${many(letters.length, "letter")}${next === null ? ", the last page" : letters.length < ROWS ? "; not all was looked at: go on" : ""}`;
    refill(place, table("Dead letters", [
      ["letter", (letter) => link(route("letter", queue, letter.id, { subject: letter.subject, reason: letter.reason, handler: letter.handler }), letter.id)],
      ["entity", ({ subject }) => subject ? link(route("find", subject), el("bdi", null, cut(subject, 60))) : "–"], ["given up", ({ dead_at: at }) => time(at)],
      ["reason", (letter) => [cut(letter.reason, 100), letter.is_end ? " (an end of business)" : ""]], ["detail", ({ detail }) => longText(detail, { first: 160 })],
      ["by", ({ handler }) => cut(handler, 100)], ["attempts", ({ attempts }) => number(attempts), "number"],
      ["dropped", ({ deadline }) => deadline ? time(deadline) : "–"],
      ["sent back", ({ redriven }) => redriven ? redrivenText(redriven) : "–"]], letters));
  }
  await draw();
}

const WALKED = 100;

async function counted(queue, filter, signal) {
  let count = 0;
  await eachPage(queue, (after) => read(queue, filter, after, WALKED), signal, (page) => {
    count += page.letters.length;
    return true;
  });
  return count;
}

async function purged(queue, asked, signal) {
  const filter = Object.fromEntries(Object.entries(asked).filter(([, value]) => value));
  const passed = [];
  let count = 0, after = 0;
  try {
    for (;;) {
      const moved = await post("purge", { queue, filter, limit: WALKED, after });
      count += moved.moved;
      after = moved.next ?? 0;
      // What comes meanwhile is left.
      filter.before ??= moved.at;
      passed.push(...moved.passed_over);
      if (moved.done || signal.aborted) return count;
    }
  } finally {
    await giveBack(queue, passed);
  }
}

// One letter, with its body.
export async function letterView(root, [queue, id], asked, signal) {
  const place = el("div", null, note("looking …"));
  refill(root, el("h1", { tabindex: -1 }, "Letter ", cut(id, 100)), el("p", null, link(route("letters", queue), `letters in ${queue}`)), place);
  let letter = null;
  try {
    await eachPage(queue, (after) => read(queue, asked, after, ROWS, id), signal, (page) => {
      letter = page.letters.find((one) => one.id === id) ?? null;
      return letter === null;
    });
  } catch (error) {
    if (!signal.aborted) refill(place, failed(error));
    return;
  }
  if (signal.aborted) return;
  if (!letter) { refill(place, note(`It is not in ${queue}: it was sent back, or deleted, or dropped.`)); return; }
  const rows = [["entity", letter.subject && link(route("find", letter.subject), el("bdi", null, cut(letter.subject, 200)))], ["reason", letter.reason + (letter.is_end ? " (an end of business)" : "")],
    ["detail", longText(letter.detail)], ["given up by", letter.handler], ["came from", letter.source_queue], ["attempts", number(letter.attempts)],
    ["first seen", time(letter.first_seen)], ["given up", time(letter.dead_at)], ["correlation id", letter.correlation_id && longText(letter.correlation_id)],
    ["sent back", letter.redriven && redrivenText(letter.redriven)]];
  const other = el("textarea", { rows: 12, spellcheck: "false", "aria-label": "Another body" });
  // A body of 1 MB is put there only where somebody wants to change it.
  const edit = el("details", { ontoggle: () => { if (!other.value) other.value = letter.body; } }, el("summary", null, "Plan it with another body"), other,
    el("button", { type: "button", onclick: () => planOne(queue, letter, other.value) }, "Plan this letter with that body"));
  refill(place, el("dl", { class: "facts" }, rows.filter(([, value]) => value).map(([name, value]) => [el("dt", null, name), el("dd", null, value)])),
    el("p", null, el("button", { type: "button", onclick: () => planOne(queue, letter) }, "Plan a redrive of this letter")),
    el("h2", null, `Body, ${number(letter.characters)} characters`), longText(letter.body, { first: 4000, block: true }), edit);
}
