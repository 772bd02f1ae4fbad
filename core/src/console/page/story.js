// The story of one entity: where it is, and why.

import { el, refill, link, entityLink, time, route, many, number, seconds, longText, windowed, failed, table, tell, note, cut, growing } from "./dom.js";
import { get, post, aside, headers, address } from "./api.js";
import { state, hear, mayAct } from "./state.js";
import { graph } from "./graph.js";
import { confirmed } from "./confirm.js";
import { readOnly } from "./flow.js";

const RELOAD_MILLIS_MIN = 1000;

export async function storyView(root, [kind, id], asked, signal) {
  const path = `stories/${encodeURIComponent(kind)}/${encodeURIComponent(id)}`;
  const head = el("div"), now = el("section", { "aria-label": "Now", class: "now" }), drawn = el("div", { class: "canvas", tabindex: 0, role: "region", "aria-label": "Its path; it scrolls" });
  const letters = el("section", { "aria-label": "Dead letters" }), others = el("section", { "aria-label": "Others" });
  const stateText = el("div"), timeline = windowed("entries", drawEntries), news = el("p");
  refill(root, el("h1", { tabindex: -1 }, `${kind} `, el("bdi", null, cut(id, 200))), el("p", { class: "note" }, "looking …"));
  let isShown = false, marked = null;

  async function drawEntries(from, to) {
    const entries = await aside("timeline", address(path), from, to);
    // An entry may be led by its day.
    return growing(el("ol", { class: "timeline", start: from + 1 }), entries.flatMap((entry) => drawEntry(entry, kind, id)).filter(Boolean), (one) => one);
  }

  async function show() {
    const told = await aside("story", address(path), headers());
    if (signal.aborted) return;
    const { entity } = told;
    refill(head, facts(entity), actions(entity, show));
    refill(now, el("h2", null, "Now"), nowOf(told));
    refill(letters, told.letters?.length ? lettersOf(told) : null);
    refill(others, othersOf(told));
    refill(stateText, longText(told.state, { first: 2000, block: true }));
    refill(news);
    if (!isShown) {
      root.lastChild.remove();
      root.append(head, now, letters, el("section", { "aria-label": "Timeline" }, el("h2", null, "Timeline"), news, timeline),
        el("details", { open: true }, el("summary", null, "The path that it took"), drawn), others,
        el("details", null, el("summary", null, "Its state"), stateText));
      isShown = true;
    }
    if (entity.trail_dropped) news.append(many(told.entity.trail_dropped, "entry", "entries") + " of its own behind the first were left out by the engine. ");
    await timeline.show(told.entries);
    const marks = JSON.stringify(told.path);
    if (marks !== marked) await graph(drawn, told.path ?? { nodes: {}, edges: {} });
    marked = marks;
    tell(now.textContent);
  }

  async function tryShow() {
    try { await show(); } catch (error) {
      if (!signal.aborted) refill(isShown ? news : root.lastChild, failed(error));
    }
  }
  let last = 0, isDue = false;
  hear("work", signal, ({ work }) => {
    if (isDue || !work?.some(({ subject }) => subject === id)) return;
    // Who reads an open entry is not disturbed.
    if (timeline.querySelector("details[open]")) {
      refill(news, el("button", { type: "button", onclick: tryShow }, "More happened: show it"));
      return;
    }
    isDue = true;
    setTimeout(() => { isDue = false; last = performance.now(); if (!signal.aborted) tryShow(); }, Math.max(0, RELOAD_MILLIS_MIN - (performance.now() - last)));
  });
  await tryShow();
}

function facts(entity) {
  const rows = [["id", longText(entity.id)], ["status", el("strong", { class: "status" }, entity.status ?? "–", entity.is_ended ? " (ended)" : "")],
    ["created", time(entity.created_at)], ["deadline", entity.deadline && time(entity.deadline)],
    ["expires", entity.expires_at && time(entity.expires_at)], ["correlation id", entity.correlation_id && longText(entity.correlation_id)],
    ["trace id", entity.trace_id], ["version", number(entity.version)]];
  return el("dl", { class: "facts" }, rows.filter(([, value]) => value).map(([name, value]) => [el("dt", null, name), el("dd", null, value)]));
}

// The last attempt's detail says again which one it was.
const SAID = /^attempt \d+ of \d+ failed: /;

const failure = (one, of = "") => el("p", { class: "bad" },
  `✘ ${of}${one.step}: attempt ${one.attempt} of ${one.attempts_max} failed: ${one.reason}: `, longText(one.detail.replace(SAID, "")),
  one.next ? ["; next try ", time(one.next)] : "; it was given up", "; failed ", time(one.at));

function nowOf({ entity, failing = [], waiting, letters = [], next_run: nextRun, letters_untold: untold }) {
  const lines = failing.map((one) => failure(one));
  if (waiting) {
    lines.push(el("p", null, "… waits: ", longText(waiting.for), waiting.until ? [", until ", time(waiting.until)] : "",
      waiting.of && waiting.of.id !== entity.id ? ["; told by ", entityLink(waiting.of.kind, waiting.of.id)] : "",
      waiting.deadline ? ["; the deadline is ", time(waiting.deadline)] : ""));
  }
  if (nextRun) {
    lines.push(el("p", null, `… ${nextRun.steps.join(", ")} looks for it at `, time(nextRun.at), ", by the schedule ", link(route("schedule", nextRun.schedule), nextRun.schedule)));
    if (nextRun.amiss) lines.push(el("p", { class: "bad" }, "✘ ", longText(nextRun.amiss)));
    lines.push(...(nextRun.in_its_way ?? []).map((one) => failure(one, "in its way is ")));
  }
  if (untold) lines.push(el("p", { class: "bad" }, "✘ Not all dead letters could be looked at: ", longText(untold)));
  if (letters.length) lines.push(el("p", { class: "bad" }, `✘ ${many(letters.length, "dead letter")}: nothing more happens by itself with what they hold.`));
  if (!lines.length) lines.push(el("p", { class: entity.is_ended ? "good" : "" }, entity.is_ended ? `✔ over: ${entity.status ?? "ended"}` : "Nothing is known to fail, and nothing tells what it waits for."));
  return lines;
}

function lettersOf({ letters, letters_next: next, letters_looked_at: looked, entity }) {
  const place = windowed("dead letters", (from, to) => table("Its dead letters", [
    ["given up", ({ dead_at: at }) => time(at)], ["reason", (letter) => letter.reason + (letter.is_end ? " (an end of business)" : "")], ["by", ({ handler }) => handler],
    ["of", ({ subject }) => !subject || subject === entity.id ? "this one" : link(route("find", subject), el("bdi", null, cut(subject, 60)))],
    ["detail", ({ detail }) => longText(detail, { first: 160 })], ["dropped", ({ deadline }) => time(deadline)],
    ["sent back", ({ redriven }) => redriven ? redrivenText(redriven) : "–"],
    ["letter", (letter) => link(route("letter", letter.queue, letter.id, { subject: letter.subject ?? entity.id, reason: letter.reason, handler: letter.handler }), `letter ${letter.id}`)],
  ], letters.slice(from, to)), { rows: 20 });
  place.show(letters.length);
  return [el("h2", null, "Dead letters"), next ? note(`Found in the ${number(looked)} letters that were looked at; ${next} holds more.`) : null, place];
}

export function redrivenText({ times, at, by, why }) {
  return el("span", null, `${many(times, "time")}, last `, time(at), by ? ` by ${by}` : "", why ? ": " : "", why ? longText(why) : "");
}

function othersOf({ entity, related = [], untold = [], led_to: ledTo = [] }) {
  const known = new Set(related.map(({ kind, id }) => `${kind}/${id}`));
  const items = [
    ...related.map((one) => el("li", null, "told with ", entityLink(one.kind, one.id), one.status ? `, ${one.status}` : "")),
    ...(entity.related ?? []).filter(([kind, id]) => !known.has(`${kind}/${id}`)).slice(0, 100).map(([kind, id]) => el("li", null, "told with ", entityLink(kind, id))),
    ...ledTo.slice(0, 100).map(([kind, id]) => el("li", null, "led to ", entityLink(kind, id))),
    ...untold.map(([kind, id, why]) => el("li", { class: "bad" }, `✘ the ${kind} ${cut(id, 100)} can't be told: `, longText(why))),
  ];
  const kinds = state.system.kinds.map(({ kind }) => kind);
  const search = kinds.map((kind) => link(route("search", { kind, related: entity.id, go: 1 }), `every ${kind} related to it`));
  return [el("h2", null, "Run, parents and what came of it"), items.length ? el("ul", null, items) : note("None is named."),
    el("p", null, search.flatMap((one, at) => (at ? [" · ", one] : [one])))];
}

function drawEntry(entry, kind, id) {
  const isNewDay = entry.before?.slice(0, 10) !== String(entry.at).slice(0, 10);
  const isBad = entry.dead !== undefined;
  const by = [`by ${entry.by}`, entry.try > 1 ? `attempt ${number(entry.try)}` : "", entry.took !== undefined ? `in ${seconds(entry.took)}` : ""];
  const told = [["input", entry.input], ["output", entry.output]].filter(([, text]) => text);
  return [isNewDay && el("li", { class: "day" }, String(entry.at).slice(0, 10)), el("li", { class: isBad ? "bad" : "" },
    time(entry.at, false), " ", entry.id === id && entry.kind === kind ? "" : [entityLink(entry.kind, entry.id, 30), ": "],
    el("strong", null, isBad ? "✘ " : entry.ended !== undefined ? "■ " : "", longText(entry.what)), " ",
    el("span", { class: "dim" }, by.filter(Boolean).join(", "), entry.until ? [", until ", time(entry.until)] : ""),
    entry.redriven && el("p", { class: "dim" }, "sent back: ", redrivenText({ times: entry.redriven, at: entry.redriven_at, by: entry.redriven_by, why: entry.redriven_why })),
    told.map(([name, text]) => el("details", null, el("summary", null, name), longText(text, { first: 2000, block: true }))))];
}

function actions(entity, again) {
  const step = state.system.kinds.find(({ kind }) => kind === entity.kind)?.cancelled_by;
  if (!step || entity.is_ended) return null;
  if (!mayAct()) return readOnly("cancel it");
  const told = el("div");
  const cancel = async () => {
    if (!await confirmed(`Cancel the ${entity.kind}`, [`The ${entity.kind} ${cut(entity.id, 200)} is cancelled by the step ${step}, where it can still be.`], "Cancel it")) return;
    try {
      await post(`cancel/${encodeURIComponent(entity.kind)}/${encodeURIComponent(entity.id)}`, {});
      refill(told, el("p", { class: "good", role: "status" }, "✔ It was asked to be cancelled."));
      await again();
    } catch (error) { refill(told, failed(error)); }
  };
  return el("p", null, el("button", { type: "button", class: "act", onclick: cancel }, "Cancel it …"), told);
}

// Goes to the story of the entity with this id, whatever its kind.
export async function findView(root, [id], asked, signal) {
  const place = el("div");
  refill(root, el("h1", { tabindex: -1 }, "Looking for ", el("bdi", null, cut(id, 200))), place);
  const found = await lookFor(id, signal).catch((error) => error);
  if (signal.aborted) return;
  if (found instanceof Error) refill(place, failed(found));
  else if (found.length === 1) location.replace(route("story", found[0].kind, id));
  else if (!found.length) refill(place, note("Nothing has this id, or it has expired."), link(route("search"), "Search"));
  else refill(place, el("ul", null, found.map((one) => el("li", null, entityLink(one.kind, id), `, ${one.status ?? ""}`))));
}

async function lookFor(id, signal) {
  const tried = state.system.kinds.map(({ kind }) =>
    get(`entities/${encodeURIComponent(kind)}/${encodeURIComponent(id.toWellFormed())}`, signal).catch((error) => {
      if (error.status === 404) return null;
      throw error;
    }));
  return (await Promise.all(tried)).filter(Boolean);
}
