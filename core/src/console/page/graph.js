// Draws the flow, with what is live in it, or with the path that an entity took.

import { svg, cut, number, route, many, breath } from "./dom.js";
import { layout, WIDTH, HEIGHT } from "./layout.js";
import { state, isRetrying } from "./state.js";

export const SORTS = {
  route: "route", step: "step", queue: "queue", dead_letter_queue: "dead-letter queue", table: "table", relay: "relay",
  topic: "topic", bus: "bus", bucket: "bucket", schedule: "schedule", outside: "outside",
};

// Of its size.
const SMALLEST = 0.75;
const LABEL_CHARS = 24, COUNT_CHARS = 8, LABEL_HEIGHT = 13, CHAR_WIDTH = 6.2, BULGE = 30;
const NAME_CHARS = 22, SECOND_CHARS = 27;

// The outline of a node, round its middle.
function outline(sort) {
  const [w, h] = [WIDTH / 2, HEIGHT / 2];
  const box = (inset) => `M${-w + inset},${-h} H${w - inset} L${w},0 L${w - inset},${h} H${-w + inset} L${-w},0 Z`;
  const round = (r) => `M${-w + r},${-h} H${w - r} A${r},${r} 0 0 1 ${w - r},${h} H${-w + r} A${r},${r} 0 0 1 ${-w + r},${-h} Z`;
  switch (sort) {
    case "route": case "schedule": case "relay": return round(h);
    case "topic": case "bus": return box(14);
    case "bucket": return `M${-w},${-h} H${w} L${w - 12},${h} H${-w + 12} Z`;
    case "queue": case "dead_letter_queue": return `M${-w},${-h} H${w} V${h} H${-w} Z M${w - 7},${-h} V${h} M${w - 13},${-h} V${h}`;
    case "table": return `M${-w},${-h + 6} A${w},6 0 0 1 ${w},${-h + 6} V${h - 6} A${w},6 0 0 1 ${-w},${h - 6} Z M${-w},${-h + 6} A${w},6 0 0 0 ${w},${-h + 6}`;
    default: return `M${-w},${-h} H${w} V${h} H${-w} Z`;
  }
}

// What lies there.
export function whereTo(node) {
  switch (node.sort) {
    case "queue": return route("queues", { queue: node.name });
    case "dead_letter_queue": return route("letters", { queue: node.name });
    case "step": case "route": return route("work", { step: stepOf(node) });
    case "table": return route("search", { kind: state.system.kinds.find(({ table }) => table === node.name)?.kind });
    case "schedule": return route("schedule", node.name);
    case "topic": case "bus": case "outside": return route("published", node.name);
    default: return route("work");
  }
}

// A route's node is told by the work of the step that answers it.
function stepOf(node) {
  if (node.name in state.counts) return node.name;
  const edge = state.flow.edges.find((edge) => edge.from === node.id && edge.step);
  return edge?.step ?? node.name;
}

const deadIn = (name) => state.queues.find((queue) => queue.dead_letter_queue === name)?.dead ?? 0;

// The second line of a node, and whether something is stuck there.
function livesOf(node) {
  if (node.sort === "dead_letter_queue") {
    const dead = deadIn(node.name);
    return dead ? [`✘ ${many(dead, "dead letter")}`, "stuck"] : ["no dead letters", ""];
  }
  // A step may stand for its queue as well.
  const depth = state.queues.find(({ name }) => name === node.queue);
  const parts = depth ? [[depth.visible, "waiting"], [depth.in_flight, "in hand"], [depth.delayed, "delayed"]] : [];
  const lies = parts.filter(([count]) => count).map(([count, what]) => `${number(count)} ${what}`);
  if (node.sort === "queue") return [lies.join(" · ") || (depth ? "empty" : ""), ""];
  const counts = node.sort === "step" || node.sort === "route" ? state.counts[node.name] : null;
  if (counts) {
    if (isRetrying(node.name)) return [`⚠ retrying · ${number(counts.retried)} retries`, "stuck"];
    if (counts.done || lies.length) return [[`${number(counts.done)} done`, ...lies].join(" · "), ""];
  }
  return [node.detail ?? SORTS[node.sort] ?? node.sort, ""];
}

// What is counted on an edge.
function countOf(edge) {
  const counts = edge.step && state.counts[edge.step];
  if (!counts) return "";
  if (edge.sort === "fail") return counts.dead_lettered ? `✘ ${number(counts.dead_lettered)}` : "";
  if (edge.sort === "given_up" || edge.sort === "refuse") return counts.ended ? number(counts.ended) : "";
  return counts.done ? number(counts.done) : "";
}

// The line of an edge, and its parts between the columns.
function lineOf(points) {
  // Between two nodes of a column it goes round on the right.
  const isRound = points[0].x === points.at(-1).x;
  const side = (points.at(-1).x >= points[0].x ? 1 : -1) * WIDTH / 2;
  const parts = points.slice(1).map((point, at) => [
    { x: points[at].x + side, y: points[at].y }, { x: point.x + (isRound ? side : -side), y: point.y }]);
  let d = `M${parts[0][0].x},${parts[0][0].y}`;
  for (const [from, to] of parts) {
    const half = isRound ? BULGE : (to.x - from.x) / 2;
    d += ` H${from.x} C${from.x + half},${from.y} ${isRound ? to.x + half : to.x - half},${to.y} ${to.x},${to.y}`;
  }
  return { d, parts };
}

// Where the text of an edge stands: in the middle of a part of it, and not on another text.
function labelPlace([one, other], taken, width) {
  const x = (one.x + other.x) / 2, y = (one.y + other.y) / 2;
  const hits = (y) => taken.some((box) => Math.abs(box.x - x) < (box.width + width) / 2 && Math.abs(box.y - y) < LABEL_HEIGHT);
  let best = y;
  for (let step = 1; hits(best) && step < 24; step++) best = y + Math.ceil(step / 2) * (step % 2 ? LABEL_HEIGHT : -LABEL_HEIGHT);
  taken.push({ x, y: best, width });
  return { x, y: best };
}

// How much room the text of an edge takes, in characters.
const charsOf = ({ label, step }) => Math.min(label?.length ?? 0, LABEL_CHARS) + (step ? COUNT_CHARS : 0);

let laid = { flow: null, layout: null };

// How long it is drawn before the browser may do something else.
const DRAWN_MILLIS = 8;

// Draws the flow in a place, a part at a time, and gives what shows what is live in it; `path` are the marks of a story instead.
export async function graph(canvas, path) {
  const { flow } = state;
  await breath();
  if (laid.flow !== flow) laid = { flow, layout: layout(flow.nodes, flow.edges, charsOf) };
  const { width, height, at, lines } = laid.layout;
  let since = -Infinity;
  const each = async (all, draw) => {
    for (const [index, one] of all.entries()) {
      if (performance.now() - since > DRAWN_MILLIS) { await breath(); since = performance.now(); }
      draw(one, index);
    }
  };
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "group",
    "aria-label": path ? "The path that it took in the flow" : "The flow" });
  // As wide as there is room, but not too small to read, nor larger than it was drawn.
  root.style.minWidth = `${width * SMALLEST}px`;
  root.style.maxWidth = `${width}px`;
  root.append(svg("defs", null, svg("marker", { id: "arrow", viewBox: "0 0 8 8", refX: 8, refY: 4, markerWidth: 8, markerHeight: 8,
    orient: "auto", markerUnits: "userSpaceOnUse" }, svg("path", { d: "M0,0 L8,4 L0,8 Z", class: "head" }))));
  const lower = svg("g"), labels = svg("g"), upper = svg("g");
  root.append(lower, labels, upper);
  // Where a drawing is there, it is seen until this one is whole.
  const isFirst = !canvas.childElementCount;
  if (isFirst) canvas.append(root);
  const updates = [], taken = [];
  await each(flow.edges, (edge, index) => {
    if (!lines[index]) return;
    const { d, parts } = lineOf(lines[index].points);
    const mark = path?.edges?.[index];
    const how = `edge ${edge.sort}${path ? (mark ? " " + mark : " off") : ""}`;
    lower.append(svg("path", { d, class: how, "marker-end": "url(#arrow)" }));
    const label = cut(edge.label ?? "", LABEL_CHARS);
    if (!label && (path || !edge.step)) return;
    const place = labelPlace(parts[lines[index].part], taken, charsOf(edge) * CHAR_WIDTH);
    const count = svg("tspan", { class: "count" });
    const text = svg("text", { x: place.x, y: place.y + 4, class: how + " label" }, label, count);
    if (path) { labels.append(text); return; }
    const target = flow.nodes.find(({ id }) => id === edge.to), source = flow.nodes.find(({ id }) => id === edge.from);
    const to = edge.sort === "fail" ? whereTo(target) : edge.step ? route("work", { step: edge.step }) : whereTo(target);
    const anchor = svg("a", { href: to }, text);
    let before = null;
    const update = () => {
      const now = countOf(edge);
      if (now === before) return;
      before = now;
      count.textContent = now && (label ? ` ${now}` : now);
      anchor.setAttribute("tabindex", label || now ? 0 : -1);
      anchor.setAttribute("aria-label", `from ${source.name} to ${target.name}${edge.label ? ", " + edge.label : ""}${now ? ", " + now : ""}`);
      anchor.classList.toggle("stuck", edge.sort === "fail" && now !== "");
    };
    update();
    updates.push(update);
    labels.append(anchor);
  });
  await each(flow.nodes, (node) => {
    const { x, y } = at.get(node.id);
    const mark = path?.nodes?.[node.id];
    // A table's lid is above its name.
    const lid = node.sort === "table" ? 4 : 0;
    const second = svg("text", { y: 14 + lid, class: "second" });
    const anchor = svg("a", { href: whereTo(node), transform: `translate(${x},${y})`,
      class: `node ${node.sort}${path ? (mark ? " " + mark : " off") : ""}` },
    svg("title", null, `${SORTS[node.sort] ?? node.sort} ${node.name}${node.detail ? ": " + node.detail : ""}`),
    svg("path", { d: outline(node.sort) }), svg("text", { y: lid - 3, class: "first" }, cut(node.name, NAME_CHARS)), second);
    let before = null;
    const update = () => {
      const sign = mark === "done" ? "✔ done" : mark === "failed" ? "✘ failed" : null;
      const [text, how] = path ? [sign ?? node.detail ?? "", ""] : livesOf(node);
      if (text === before) return;
      before = text;
      second.textContent = cut(text, SECOND_CHARS);
      anchor.setAttribute("aria-label", `${SORTS[node.sort] ?? node.sort} ${cut(node.name, 100)}${text ? ", " + text : ""}`);
      anchor.classList.toggle("stuck", how === "stuck");
    };
    update();
    if (!path) updates.push(update);
    upper.append(anchor);
  });
  if (!isFirst) canvas.replaceChildren(root);
  const update = () => updates.forEach((one) => one());
  update();
  return update;
}
