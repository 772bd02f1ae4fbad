// Search: by id at once; else by a look through all of a kind, part by part, as far as somebody wants.

import { el, refill, field, choice, entityLink, time, number, many, windowed, failed, table, tell, route, note, breath, longText } from "./dom.js";
import { get, query } from "./api.js";
import { state } from "./state.js";

// Items that one question looks at, and as many as are looked at before somebody has to ask for more.
const PART = 200, AT_ONCE = 5000;

export async function searchView(root, parts, asked, signal) {
  const kinds = state.system.kinds.map(({ kind }) => kind);
  const id = el("input", { name: "id", autocomplete: "off", spellcheck: "false" });
  const inputs = {};
  const input = (name, props) => (inputs[name] = el("input", { name, value: asked[name] ?? "", autocomplete: "off", spellcheck: "false", ...props }));
  inputs.kind = choice(kinds.map((kind) => [kind, kind]), asked.kind ?? kinds[0], { name: "kind" });
  const results = el("div");
  const byId = (event) => { event.preventDefault(); if (id.value.trim()) location.hash = route("find", id.value.trim()); };
  const byAll = (event) => {
    event.preventDefault();
    const wanted = Object.fromEntries(Object.entries(inputs).map(([name, { value }]) => [name, value.trim()]));
    location.hash = route("search", { ...wanted, go: Number(asked.go ?? 0) + 1 });
  };
  refill(root, el("h1", { tabindex: -1 }, "Search"),
    el("form", { onsubmit: byId, role: "search", "aria-label": "By id" }, field("id", id), el("button", null, "Show its story")),
    el("form", { onsubmit: byAll, role: "search", "aria-label": "Among all" }, field("kind", inputs.kind), field("status", input("status")),
      field("changed since", input("since", { placeholder: "2026-11-30T09:00:00Z" })), field("changed before", input("before", { placeholder: "2026-11-30T10:00:00Z" })),
      field("dead for the reason", input("reason")), field("related to", input("related")), el("button", null, "Look")),
    results);
  if (asked.go) await look(results, asked, signal);
}

async function look(place, asked, signal) {
  const { kind, status, since, before, reason, related } = asked;
  let rows = [], unreadable = [], looked = 0, next = null, until = 0, isOver = false, isLooking = false, isStopped = false;
  const counts = new Map();
  const far = el("p", { role: "status" }), statuses = el("p", { class: "note" }), wrong = el("div");
  const more = el("button", { type: "button", onclick: () => go(AT_ONCE) }, `look at ${number(AT_ONCE)} more`);
  const all = el("button", { type: "button", onclick: () => go(Infinity) }, "look at all");
  const stop = el("button", { type: "button", onclick: () => { isStopped = true; } }, "stop");
  const list = windowed("found", (from, to) => table("Found", [
    ["id", ({ id }) => entityLink(kind, id)], ["status", (row) => row.status ?? "–"], ["changed", ({ at }) => time(at)],
    ["created", ({ created }) => time(created)], ["last", ({ what }) => longText(what, { first: 120 })]], rows.slice(from, to)));
  refill(place, far, el("p", { class: "actions" }, more, all, stop), statuses, wrong, list);
  const say = () => {
    more.hidden = all.hidden = isOver || isLooking;
    stop.hidden = !isLooking;
    far.textContent = isLooking && !looked ? "looking …" : `Looked at ${number(looked)}: ${number(rows.length)} found${isOver ? "; that is all." : isLooking ? " …" : "; there are more."}`;
    statuses.textContent = [...counts].sort().slice(0, 50).map(([name, count]) => `${name || "no status"} ${number(count)}`).join(" · ");
    if (unreadable.length) refill(wrong, el("p", { class: "bad" }, `✘ ${many(unreadable.length, "can't be read", "can't be read")}:`),
      el("ul", null, unreadable.slice(0, 20).map((one) => el("li", null, longText(one.id, { first: 80 }), ": ", longText(one.why, { first: 160 })))));
  };
  async function go(most) {
    until = looked + most;
    isStopped = false;
    // One look at a time: who asks for more meanwhile has it go on for longer.
    if (isLooking) return;
    isLooking = true;
    let drawn = 0;
    say();
    try {
      while (!isStopped && looked < until && !signal.aborted) {
        const page = await get(`entities/${encodeURIComponent(kind)}?${query({ status, since, before, reason, related, after: next, limit: PART })}`, signal);
        next = page.next;
        looked += page.looked_at ?? PART;
        unreadable = unreadable.concat(page.unreadable ?? []);
        rows = merged(rows, page.entities.map(rowOf));
        for (const entity of page.entities) counts.set(entity.status ?? "", (counts.get(entity.status ?? "") ?? 0) + 1);
        isOver = !next;
        if (isOver) break;
        // What was found is drawn now and then: it is the whole list anew each time.
        if (performance.now() - drawn > 500) { await list.show(rows.length); say(); drawn = performance.now(); }
        await breath();
      }
    } catch (error) {
      if (signal.aborted) return;
      refill(wrong, failed(error));
    }
    isLooking = false;
    if (signal.aborted) return;
    // The list is there before it is said to be.
    await list.show(rows.length);
    say();
    tell(far.textContent);
  }
  await go(AT_ONCE);
}

const rowOf = (entity) => ({ id: entity.id, status: entity.status, created: entity.created_at,
  at: entity.trail?.at(-1)?.at ?? entity.created_at ?? "", what: entity.trail?.at(-1)?.what ?? "" });

// Two lists, the newest first, as one.
function merged(sorted, found) {
  const other = found.sort((a, b) => (a.at < b.at ? 1 : a.at > b.at ? -1 : 0));
  const all = new Array(sorted.length + other.length);
  for (let to = 0, i = 0, k = 0; to < all.length; to++) {
    all[to] = k >= other.length || (i < sorted.length && sorted[i].at >= other[k].at) ? sorted[i++] : other[k++];
  }
  return all;
}
