// Builds what is shown. Whatever comes from the server is a text here, and never markup.

// Characters that nobody sees, or that change how others are shown: they are spelled out.
const HIDDEN = new RegExp(
  "[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u180e\\u200b-\\u200f\\u2028-\\u202f\\u2060-\\u206f" +
    "\\ufe00-\\ufe0f\\ufeff\\ufff9-\\ufffb\\u{e0000}-\\u{e01ef}]|\\p{Surrogate}", "gu");

// A text as it is safe to look at.
export function shown(value) {
  const text = String(value ?? "");
  return text.replace(HIDDEN, (c) => `⟨U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
}

// A text cut to so many characters, and not inside of one.
export function cut(value, most = 80) {
  const text = String(value ?? "");
  if (text.length <= most) return text;
  return text.slice(0, most - 1).toWellFormed().replace(/\ufffd$/, "") + "…";
}

const SVG = "http://www.w3.org/2000/svg";

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "disabled") node[name] = value;
    else node.setAttribute(name, value === true ? "" : shown(value));
  }
  put(node, children);
  return node;
}

function put(node, children) {
  for (const child of children) {
    if (Array.isArray(child)) put(node, child);
    else if (child instanceof Node) node.append(child);
    else if (child !== null && child !== undefined && child !== false) node.append(shown(child));
  }
}

// An element with attributes, listeners (`onclick`) and children.
export const el = (tag, props, ...children) => fill(document.createElement(tag), props, children);
export const svg = (tag, props, ...children) => fill(document.createElementNS(SVG, tag), props, children);

// Gives a node other children.
export function refill(node, ...children) {
  node.replaceChildren();
  put(node, children);
  return node;
}

// A number as it is, its thousands apart.
export function number(value) {
  return String(value ?? 0).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}

export const many = (count, one, more = one + "s") => `${number(count)} ${count === 1 ? one : more}`;

// How far the server's clock is ahead of this one, in milliseconds.
let ahead = 0;
// In a simulation the time stands still between two steps.
let stands = null;
export const now = () => stands ?? Date.now() + ahead;
export function setNow(text, isStill = false) {
  const at = Date.parse(text);
  if (Number.isNaN(at)) return;
  ahead = at - Date.now();
  stands = isStill ? at : null;
}

function ago(at) {
  const millis = now() - Date.parse(at);
  if (Number.isNaN(millis)) return "";
  const seconds = Math.floor(Math.abs(millis) / 1000);
  const [count, unit] = seconds < 60 ? [seconds, "s"]
    : seconds < 3600 ? [Math.floor(seconds / 60), "min"]
    : seconds < 172800 ? [Math.floor(seconds / 3600), "h"]
    : [Math.floor(seconds / 86400), "days"];
  return millis >= 0 ? `${count} ${unit} ago` : `in ${count} ${unit}`;
}

// A time as UTC, with its age, which goes on.
export function time(at, withDate = true) {
  if (!at) return el("span", null, "–");
  const text = String(at).replace("T", " ");
  return el("time", { datetime: at, class: "time" }, withDate ? text : text.slice(11), " ",
    el("span", { class: "age", "data-at": at }, ago(at)));
}

// The times on the page grow older, a part at a time: each part is drawn anew.
export async function growOlder() {
  let changed = 0;
  for (const age of document.querySelectorAll(".age")) {
    const text = ago(age.dataset.at);
    if (age.textContent === text) continue;
    age.textContent = text;
    changed += 1;
    if (changed % PART_ROWS === 0) await drawn();
  }
}

export function seconds(millis) {
  return millis < 1000 ? `${number(millis)} ms` : `${(millis / 1000).toFixed(1)} s`;
}

const encoded = (text) => encodeURIComponent(String(text).toWellFormed());

// The address of a view: `route("story", kind, id)`, with what is asked of it as an object at the end.
export function route(...parts) {
  const asked = typeof parts.at(-1) === "object" ? parts.pop() : {};
  const query = Object.entries(asked).filter(([, value]) => value !== undefined && value !== null && value !== "")
    .map(([name, value]) => `${encoded(name)}=${encoded(value)}`).join("&");
  return `#/${parts.map(encoded).join("/")}${query && "?" + query}`;
}

export const link = (to, ...children) => el("a", { href: to }, ...children);

export const entityLink = (kind, id, most = 80) =>
  el("a", { href: route("story", kind, id), title: cut(id, 500) }, `${kind} `, el("bdi", null, cut(id, most)));

// Says something to who listens rather than looks.
let tellLater = null;
export function tell(text) {
  clearTimeout(tellLater);
  tellLater = setTimeout(() => { document.getElementById("told").textContent = shown(text); }, 300);
}

// Lets the browser draw before the work goes on.
export const breath = () => new Promise((resolve) => setTimeout(resolve, 0));

// Waits, or less long where `signal` says that nobody waits any longer.
export function pause(millis, signal) {
  return new Promise((resolve) => {
    const done = () => { clearTimeout(timer); signal?.removeEventListener("abort", done); resolve(); };
    const timer = setTimeout(done, millis);
    if (signal?.aborted) done(); else signal?.addEventListener("abort", done);
  });
}

const FIRST_CHARS = 300;
const CHUNK_CHARS = 16000;

// A text of any length: its beginning, and the rest part by part for who wants it.
export function longText(text, { first = FIRST_CHARS, block = false } = {}) {
  const whole = String(text ?? "");
  const place = el(block ? "div" : "span", { class: block ? "long block" : "long" });
  if (whole.length <= first) return refill(place, block ? el("pre", null, whole) : whole);
  let at = cut(whole, first + 1).length - 1;
  const part = (text) => (block ? el("pre", null, text) : el("span", null, text));
  const left = el("span", { class: "dim" });
  const more = el("button", { type: "button", onclick: () => next() });
  const all = el("button", { type: "button", onclick: () => everything() }, "show all");
  const controls = el("span", { class: "more" }, left, " ", more, " ", all);
  const next = () => {
    const end = Math.min(whole.length, whole.lastIndexOf("\n", at + CHUNK_CHARS) > at + CHUNK_CHARS / 2
      ? whole.lastIndexOf("\n", at + CHUNK_CHARS) + 1 : at + CHUNK_CHARS);
    controls.before(part(whole.slice(at, end)));
    at = end;
    label();
  };
  // A part a frame, so that the page stays quick.
  const everything = async () => {
    all.disabled = more.disabled = true;
    while (at < whole.length && place.isConnected) { next(); await breath(); }
  };
  const label = () => {
    left.textContent = ` … ${number(whole.length - at)} of ${number(whole.length)} characters left out`;
    more.textContent = `show ${number(Math.min(CHUNK_CHARS, whole.length - at))} more`;
    if (at >= whole.length) controls.remove();
  };
  refill(place, part(whole.slice(0, at)), controls);
  label();
  return place;
}

// Rows that are added at once: with many more of them a frame takes long.
export const PART_ROWS = 25;

// Waits until what was added is drawn, or a moment where nobody looks.
export const drawn = () => new Promise((resolve) => { requestAnimationFrame(() => setTimeout(resolve, 0)); setTimeout(resolve, 100); });

// A node with a child for each of the rows: the first at once, the others a part at a time. `whole` is settled when all are there.
export function growing(node, rows, child) {
  node.append(...rows.slice(0, PART_ROWS).map(child));
  const grow = async () => {
    for (let from = PART_ROWS; from < rows.length; from += PART_ROWS) {
      await drawn();
      if (!node.isConnected) return;
      node.append(...rows.slice(from, from + PART_ROWS).map(child));
    }
  };
  node.whole = grow();
  return node;
}

export const tableRow = (columns) => (row) => el("tr", { class: row?.rowClass }, columns.map(([name, cell, how]) => el("td", { class: how, "data-name": name }, cell(row))));

// A table of columns `[heading, cell of a row, class]`.
export function table(caption, columns, rows) {
  const body = growing(el("tbody"), rows, tableRow(columns));
  const place = el("div", { class: "wide", tabindex: 0, role: "region", "aria-label": caption }, el("table", null,
    el("caption", { class: "unseen" }, caption),
    el("thead", null, el("tr", null, columns.map(([name, , how]) => el("th", { scope: "col", class: how }, name)))),
    body));
  place.whole = body.whole;
  return place;
}

const PAGE_ROWS = 100;

// A window on many rows: never more of them on the page than fit one. `draw(from, to)` gives the nodes, perhaps later.
export function windowed(what, draw, { rows = PAGE_ROWS } = {}) {
  const place = el("div", { class: "window" });
  const body = el("div");
  const where = el("span", { class: "where" });
  let from = 0, count = 0, turn = 0;
  const goes = (name, to) => el("button", { type: "button", onclick: () => { from = to(); draws(); } }, name);
  const last = () => Math.max(0, Math.floor((count - 1) / rows) * rows);
  const first = goes("⇤ first", () => 0), back = goes("← back", () => Math.max(0, from - rows));
  const on = goes("on →", () => Math.min(last(), from + rows)), end = goes("last ⇥", last);
  const bar = el("p", { class: "bar", role: "group", "aria-label": `Pages of ${what}` }, first, back, where, on, end);
  async function draws() {
    from = Math.min(from, last());
    first.disabled = back.disabled = from === 0;
    on.disabled = end.disabled = from + rows >= count;
    bar.hidden = count <= rows;
    where.textContent = `${what} ${number(count ? from + 1 : 0)}–${number(Math.min(count, from + rows))} of ${number(count)}`;
    const mine = ++turn;
    const node = await draw(from, Math.min(count, from + rows));
    if (mine !== turn) return;
    // What is below stays where it is until all of it is there.
    body.style.minHeight = `${body.offsetHeight}px`;
    refill(body, node);
    await node.whole;
    if (mine === turn) body.style.minHeight = "";
  }
  refill(place, bar, body);
  // Says how many rows there are now, and draws them.
  place.show = (rowsNow) => { count = rowsNow; return draws(); };
  return place;
}

export const field = (name, input) => el("label", { class: "field" }, el("span", null, name), input);

// A choice of `[value, text]`.
export function choice(values, chosen, props) {
  return el("select", props, values.map(([value, text]) => el("option", { value, selected: value === chosen }, text)));
}

export const note = (text, how = "note") => el("p", { class: how }, text);

// Tells what went wrong, where it went wrong.
export const failed = (error) => el("p", { class: "bad", role: "alert" }, "✘ ", error?.message ?? String(error));
