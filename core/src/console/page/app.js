// The console: which view is shown, in which place, and whether it is live.

import { el, refill, route, growOlder, failed, note } from "./dom.js";
import { setToken, token, whenLocked } from "./api.js";
import { state, load, follow, hear } from "./state.js";
import { flowView, queuesView, workView, scheduleView, publishedView } from "./flow.js";
import { storyView, findView } from "./story.js";
import { searchView } from "./search.js";
import { lettersView, letterView } from "./letters.js";
import { planView } from "./plan.js";
import { clockView } from "./clock.js";

const VIEWS = {
  flow: flowView, story: storyView, find: findView, search: searchView, queues: queuesView, letters: lettersView, letter: letterView,
  plan: planView, clock: clockView, work: workView, schedule: scheduleView, published: publishedView,
};
const NAMED = [["flow", "Flow"], ["search", "Search"], ["queues", "Queues"], ["letters", "Dead letters"], ["plan", "Plan"], ["work", "Work"]];
// Views in which something is done, and those that show an answer: who has it before them has missed none of it.
const ACTING = ["clock", "plan"], ASKED = [...ACTING, "search", "letters", "letter", "published", "schedule"];
const PLACES = ["local", "development", "production", "simulated"];
const AGES_EVERY_MILLIS = 5000;

const main = document.getElementById("main");
let left = new AbortController();

function decoded(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

// The view, its parts and what is asked of it.
function where() {
  const [path, asked = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...parts] = path.split("/").map(decoded);
  const pairs = asked.split("&").filter(Boolean).map((pair) => pair.split("=").map(decoded));
  return { name: Object.hasOwn(VIEWS, name) ? name : "flow", parts, asked: Object.fromEntries(pairs) };
}

function show(focuses = true) {
  left.abort();
  left = new AbortController();
  const { signal } = left, { name, parts, asked } = where();
  for (const anchor of document.querySelectorAll("#views a")) {
    if (anchor.dataset.view === name) anchor.setAttribute("aria-current", "page"); else anchor.removeAttribute("aria-current");
  }
  // Each view has a place of its own: what an earlier one still finds is not seen.
  const root = el("div", { class: `view ${name}` });
  refill(main, root);
  const run = VIEWS[name](root, parts, asked, signal);
  title(root);
  if (focuses) root.querySelector("h1")?.focus();
  run.catch((error) => { if (!signal.aborted) root.append(failed(error)); });
}

// The title says which place it is, before anything else.
function title(root) {
  const { place, name } = state.system;
  document.title = `[${place.toUpperCase()}] ${name}: ${root.querySelector("h1")?.textContent.slice(0, 80) ?? ""}`;
}

function dress() {
  const { system } = state;
  // A place that this page does not know is dressed as the one to be most careful in.
  const place = PLACES.includes(system.place) ? system.place : "production";
  document.documentElement.className = `place-${place}`;
  document.querySelector("link[rel=icon]").href = `/_quadrille/console/icon-${place}.svg`;
  document.getElementById("place").textContent = place.toUpperCase();
  refill(document.getElementById("system"), `${system.name}${system.stack ? `, stack ${system.stack}` : ""}${system.allows_actions ? ", actions allowed" : ", read only"}`);
  refill(document.getElementById("about"), `${system.about ?? system.name} · Quadrille ${system.version}`);
  const views = system.target === "simulated" ? [...NAMED, ["clock", "Clock"]] : NAMED;
  refill(document.getElementById("views"), views.map(([name, text]) => el("li", null, el("a", { href: route(name), "data-view": name }, text))));
}

// A form for the token, where the engine wants one.
function locked() {
  // Several questions may be answered so at once.
  if (main.querySelector("input[name=token]") && token() === null) return;
  left.abort();
  const input = el("input", { type: "password", name: "token", autocomplete: "current-password", required: true });
  const wasWrong = token() !== null;
  setToken(null);
  const enter = (event) => { event.preventDefault(); setToken(input.value.trim()); start(); };
  refill(main, el("h1", { tabindex: -1 }, "The engine asks for its token"), wasWrong ? el("p", { class: "bad", role: "alert" }, "✘ It is not this token.") : null,
    el("form", { onsubmit: enter }, el("label", { class: "field" }, el("span", null, "token"), input), el("button", null, "Open")),
    note("It stays in this tab until the tab is closed."));
  input.focus();
}

let isFollowing = false;
async function start() {
  try {
    await load();
  } catch (error) {
    if (error.status === 401) return;
    refill(main, failed(error), el("button", { type: "button", onclick: start }, "Try again"));
    return;
  }
  dress();
  show(false);
  if (isFollowing) return;
  isFollowing = true;
  await follow();
  isFollowing = false;
}

const live = document.getElementById("live");
const forever = new AbortController().signal;
hear("live", forever, ({ word, detail }) => {
  live.className = `live ${word}`;
  live.textContent = `${word === "live" ? "●" : "○"} ${word}${detail ? `: ${detail}` : ""}`;
});
hear("reload", forever, (isNew) => { dress(); if (!(isNew ? ACTING : ASKED).includes(where().name)) show(false); });
whenLocked(locked);
addEventListener("hashchange", () => {
  // The skip link is no view.
  if (location.hash === "#main") { history.replaceState(null, "", "#/flow"); main.focus(); return; }
  if (state.system) show();
});
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
setInterval(growOlder, AGES_EVERY_MILLIS);
// The command `console` gives the token with the address. It is to stand in no history.
const given = /^#token=([!-~]+)$/.exec(location.hash);
if (given) {
  setToken(given[1]);
  history.replaceState(null, "", "#/flow");
}
start();
