// The flow: the graph, with what is live in it, and what is stuck above it.

import { el, refill, link, many, route, note, tell, failed, number, time } from "./dom.js";
import { graph, SORTS, whereTo } from "./graph.js";
import { state, hear, watchQueues, isRetrying, mayAct, deadLetterQueues } from "./state.js";
import { get, post } from "./api.js";
import { confirmed } from "./confirm.js";
import { table, tableRow, drawn, longText, PART_ROWS } from "./dom.js";

function stuckNow() {
  const letters = state.queues.filter(({ dead }) => dead > 0)
    .map((queue) => [link(route("letters", { queue: queue.dead_letter_queue }), `✘ ${many(queue.dead, "dead letter")} in ${queue.dead_letter_queue}`)]);
  const retrying = Object.keys(state.counts).filter(isRetrying)
    .map((step) => [link(route("work", { step }), `⚠ ${step} fails and is tried again`)]);
  return [...letters, ...retrying];
}

export async function flowView(root, parts, asked, signal) {
  const stuck = el("ul", { class: "stuck-list" });
  // They are made for who wants them.
  const wrong = el("div"), same = el("div");
  const canvas = el("div", { class: "canvas", tabindex: 0, role: "region", "aria-label": "The flow; it scrolls" });
  refill(root, el("h1", { tabindex: -1 }, "Flow"), el("section", { "aria-label": "What is stuck" }, stuck, wrong), canvas,
    el("details", { ontoggle: ({ target }) => target.open && refill(same, lists()) }, el("summary", null, "The same as lists"), same));
  const draw = await graph(canvas);
  if (signal.aborted) return;
  let before = "", told = null;
  const update = () => {
    draw();
    const items = stuckNow();
    const text = items.map(([item]) => item.textContent).join("; ");
    if (text === before && stuck.childElementCount) return;
    before = text;
    // Another place is news, another count of the same is none.
    const places = items.map(([item]) => item.getAttribute("href")).join();
    if (places !== told) tell(text || "Nothing is stuck");
    told = places;
    refill(stuck, items.length ? items.map((item) => el("li", { class: "bad" }, item)) : el("li", { class: "good" }, "✔ Nothing is stuck"));
  };
  // A burst of work is drawn once a frame.
  let isDue = false;
  const later = () => {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(() => { isDue = false; if (!signal.aborted) update(); });
  };
  hear("work", signal, later);
  watchQueues(signal, (error) => { refill(wrong, error && failed(error)); later(); });
}

function lists() {
  const name = (id) => state.flow.nodes.find((node) => node.id === id)?.name ?? id;
  return [
    table("Nodes of the flow", [
      ["sort", (node) => SORTS[node.sort] ?? node.sort], ["name", (node) => link(whereTo(node), node.name)],
      ["detail", (node) => node.detail ?? ""]], state.flow.nodes),
    table("Edges of the flow", [
      ["from", (edge) => name(edge.from)], ["to", (edge) => name(edge.to)], ["by", (edge) => edge.label ?? edge.sort.replace("_", " ")]],
    state.flow.edges),
  ];
}

export async function queuesView(root, parts, asked, signal) {
  const place = el("div");
  const dead = ({ dead_letter_queue: queue, dead }) =>
    link(route("letters", { queue }), dead ? `✘ ${number(dead)}` : "0", el("span", { class: "unseen" }, ` in ${queue}`));
  refill(root, el("h1", { tabindex: -1 }, "Queues"), note("Looked at every 2 seconds."), place);
  const count = (field) => [field.replace("_", " "), (queue) => number(queue[field]), "number"];
  await watchQueues(signal, (error) => {
    if (error) { refill(place, failed(error)); return; }
    const rows = state.queues.map((queue) => ({ ...queue,
      rowClass: `${queue.name === asked.queue ? "chosen " : ""}${queue.dead ? "stuck" : ""}` }));
    // Who stands on a link of the table stays there.
    const focus = place.contains(document.activeElement) && document.activeElement.getAttribute("href");
    refill(place, table("Queues", [["name", (queue) => queue.name], count("visible"), count("in_flight"), count("delayed"),
      ["dead letters", dead, "number"], ["dead-letter queue", (queue) => queue.dead_letter_queue]], rows));
    if (focus) place.querySelector(`a[href="${CSS.escape(focus)}"]`)?.focus();
  });
}

// What a step has done, and the latest work.
export async function workView(root, parts, asked, signal) {
  const place = el("div"), head = el("div"), left = el("p", { class: "note" });
  const isShown = (entry) => !asked.step || entry.step === asked.step;
  refill(root, el("h1", { tabindex: -1 }, asked.step ? `Step ${asked.step}` : "Recent work"), head, left, place);
  const VERDICTS = { done: "✔ done", later: "… later", retry: "⚠ retry", ended: "■ ended", dead_letter: "✘ dead letter" };
  const columns = [
    ["at", (entry) => time(entry.at)], ["step", (entry) => entry.step],
    ["subject", (entry) => entry.subject ? link(entry.kind ? route("story", entry.kind, entry.subject) : route("find", entry.subject), longId(entry.subject)) : "–"],
    ["attempt", (entry) => number(entry.attempt), "number"],
    ["result", (entry) => VERDICTS[entry.verdict] ?? entry.verdict], ["what", (entry) => longText(entry.what, { first: 120 })]];
  refill(place, table("Recent work", columns, []));
  const body = place.querySelector("tbody"), rowOf = tableRow(columns), shown = new Map();
  // Rows that are there stay, with the focus and what is open in them.
  async function fill(rows) {
    const wanted = new Set(rows);
    for (const [entry, row] of shown) if (!wanted.has(entry)) { row.remove(); shown.delete(entry); }
    const fresh = rows.filter((entry) => !shown.has(entry));
    while (fresh.length && !signal.aborted) {
      const part = fresh.splice(-PART_ROWS);
      for (const entry of part) shown.set(entry, rowOf({ ...entry, rowClass: ["retry", "dead_letter"].includes(entry.verdict) ? "stuck" : "" }));
      body.prepend(...part.map((entry) => shown.get(entry)));
      if (fresh.length) await drawn();
    }
  }
  let isDue = false, isStale = false, last = 0;
  async function draw() {
    isStale = false;
    last = performance.now();
    if (signal.aborted) return;
    const counts = state.counts[asked.step];
    const failing = deadLetterQueues().length && asked.step;
    refill(head, counts && el("p", null, Object.entries(counts).map(([name, count]) => `${number(count)} ${name.replace("_", "-")}`).join(", "),
      " since the engine was started."), failing && el("p", null, link(route("letters", { handler: asked.step }), "Its dead letters"), " · ", link(route("queues"), "queues")));
    const rows = state.work.filter(isShown).reverse(), out = state.leftOut;
    await fill(rows);
    left.textContent = `${many(rows.length, "entry", "entries")}, the newest first; ${number(out)} left out.`;
    isDue = false;
    if (isStale) later();
  }
  // At most twice a second, so that it can be read.
  function later() {
    isStale = true;
    if (isDue) return;
    isDue = true;
    setTimeout(() => requestAnimationFrame(draw), Math.max(0, 500 - (performance.now() - last)));
  }
  hear("work", signal, later);
  isDue = true;
  await draw();
}

const longId = (id) => el("bdi", null, id.length > 80 ? id.slice(0, 79) + "…" : id);

// A schedule, which can be triggered.
export async function scheduleView(root, [name], asked, signal) {
  const node = state.flow.nodes.find((node) => node.sort === "schedule" && node.name === name);
  const told = el("div");
  const trigger = async () => {
    if (!await confirmed(`Trigger ${name}`, [`The schedule ${name} happens once more now, beside its own times.`], "Trigger it")) return;
    try {
      const { at } = await post(`schedules/${encodeURIComponent(name)}`, {});
      refill(told, el("p", { class: "good", role: "status" }, "✔ Triggered at ", time(at)));
    } catch (error) { refill(told, failed(error)); }
  };
  refill(root, el("h1", { tabindex: -1 }, `Schedule ${name}`), el("p", null, node?.detail ?? "There is no such schedule."),
    node && mayAct() ? el("button", { type: "button", class: "act", onclick: trigger }, "Trigger it now …") : readOnly("trigger it"), told);
}

export const readOnly = (what) =>
  note(`Here you can look only: start the engine with --allow-actions to ${what}.`, "note read-only");

const PUBLISHED = 100;

// What left by a topic, a bus or a queue of others.
export async function publishedView(root, [outlet], asked, signal) {
  const place = el("div");
  refill(root, el("h1", { tabindex: -1 }, `Published to ${outlet}`), place);
  try {
    const found = await get(`publications/${encodeURIComponent(outlet)}?limit=${PUBLISHED}`, signal);
    refill(place, note(`The latest ${number(found.length)}, at most ${PUBLISHED}.`), table("Publications", [
      ["at", ({ at }) => time(at)], ["event", ({ event }) => longText(JSON.stringify(event))]], found.reverse()));
  } catch (error) {
    if (!signal.aborted) refill(place, failed(error));
  }
}
