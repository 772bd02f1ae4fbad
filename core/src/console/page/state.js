// What every view shows a part of: the system, its flow, its counts, its latest work.

import { get } from "./api.js";
import { listen } from "./live.js";
import { setNow } from "./dom.js";

// Entries of work that are kept, and shown.
const WORK_MAX = 200;
// How long a step counts as one that tries again.
const RETRYING_MILLIS = 60000;

export const state = {
  system: null, flow: { nodes: [], edges: [] }, counts: {}, queues: [], work: [], leftOut: 0, retriedAt: {},
};

const told = new EventTarget();

// Calls `call` with each thing told by this name ("work", "queues", "reload", "live") until the signal says stop.
export function hear(name, signal, call) {
  told.addEventListener(name, (event) => call(event.detail), { signal });
}
const say = (name, detail) => told.dispatchEvent(new CustomEvent(name, { detail }));

const isSimulated = () => state.system?.target === "simulated";

export async function load() {
  state.system = await get("system");
  setNow(state.system.now, isSimulated());
  [state.flow, state.counts] = await Promise.all([get("flow"), get("counts")]);
}

export function follow() {
  return listen({
    work(data) {
      if (data.now) setNow(data.now, isSimulated());
      for (const [step, counts] of Object.entries(data.counts ?? {})) {
        if (counts.retried > (state.counts[step]?.retried ?? 0)) state.retriedAt[step] = Date.now();
      }
      state.counts = data.counts ?? state.counts;
      const work = data.work ?? [];
      state.leftOut += (data.left_out ?? 0) + Math.max(0, state.work.length + work.length - WORK_MAX);
      state.work = [...state.work, ...work].slice(-WORK_MAX);
      say("work", data);
    },
    state: (word, detail) => say("live", { word, detail }),
    reload: renew,
  });
}

// Loads all anew: some of it was missed, or the engine is another one, or at another time.
export async function renew(isNew = true) {
  Object.assign(state, { retriedAt: {}, work: [], leftOut: 0 });
  try {
    await load();
    say("reload", isNew);
  } catch (error) {
    say("live", { word: "reconnecting", detail: error.message });
  }
}

export const isRetrying = (step) => Date.now() - (state.retriedAt[step] ?? -Infinity) < RETRYING_MILLIS;

const QUEUES_EVERY_MILLIS = 2000;

// Looks at the queues again and again, while the page can be seen and the signal says nothing.
export async function watchQueues(signal, call) {
  while (!signal.aborted) {
    if (!document.hidden) {
      try {
        state.queues = await get("queues", signal);
        call(null);
      } catch (error) {
        if (signal.aborted) return;
        call(error);
      }
    }
    await new Promise((resolve) => setTimeout(resolve, QUEUES_EVERY_MILLIS));
  }
}

export const mayAct = () => state.system?.allows_actions === true;

export const deadLetterQueues = () => state.flow.nodes.filter(({ sort }) => sort === "dead_letter_queue").map(({ name }) => name);
