// What happens, as it happens: the engine's stream of events, gone on with where it broke off.

import { address, headers, answerOf } from "./api.js";
import { pause } from "./dom.js";

const PAUSE_MILLIS_MAX = 30000;
// The engine says something every 15 s.
const SILENCE_MILLIS_MAX = 40000;

// Waits until somebody looks at the page.
function looked() {
  return new Promise((resolve) => {
    const look = () => {
      if (document.hidden) return;
      document.removeEventListener("visibilitychange", look);
      resolve();
    };
    document.addEventListener("visibilitychange", look);
    look();
  });
}

// Listens for ever. `on.work(data)`, `on.state(word, detail)`, `on.reload(isNew)` where what was missed has to be loaded anew.
// A browser has 6 connections to an engine for all tabs: one that nobody looks at, or has left, holds none of them.
export async function listen(on) {
  let cursor = null, wait = 1000;
  for (;;) {
    await looked();
    const stop = new AbortController();
    const hide = () => { if (document.hidden) stop.abort(); };
    document.addEventListener("visibilitychange", hide);
    let heard = setTimeout(() => stop.abort(), SILENCE_MILLIS_MAX);
    let retryAfter = 0;
    try {
      const asked = headers({ Accept: "text/event-stream", ...(cursor ? { "Last-Event-ID": cursor } : {}) });
      const response = await fetch(address("events"), { headers: asked, signal: stop.signal, cache: "no-store" });
      retryAfter = Number(response.headers.get("Retry-After")) * 1000 || 0;
      if (!response.ok) await answerOf(response);
      for await (const event of events(response.body)) {
        clearTimeout(heard);
        heard = setTimeout(() => stop.abort(), SILENCE_MILLIS_MAX);
        if (event.name === "hello") {
          wait = 1000;
          const { missed, is_new: isNew, cursor: at } = event.data;
          const wasAway = cursor !== null;
          cursor = at ?? cursor;
          if (wasAway && (missed || isNew)) {
            on.state("live", isNew ? "the engine was started again; reloaded" : `missed ${missed}, reloaded`);
            on.reload(isNew);
          } else on.state("live", "");
        } else if (event.name === "work") {
          cursor = event.id ?? cursor;
          on.work(event.data);
        }
      }
      on.state("reconnecting", "the engine ended the stream");
    } catch (error) {
      if (error.status === 401) return;
      on.state("reconnecting", error.status === 503 ? "too many listen" : "the engine can't be reached");
    }
    clearTimeout(heard);
    document.removeEventListener("visibilitychange", hide);
    stop.abort();
    if (document.hidden) { wait = 1000; continue; }
    // Not all who listen come back at once.
    await pause(Math.max(retryAfter, wait * (0.75 + Math.random() / 2)));
    wait = Math.min(PAUSE_MILLIS_MAX, wait * 2);
  }
}

// The events of a stream. Lines that begin with a colon only say that it lives.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const blocks = rest.split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      let name = "alive", id, data = "";
      for (const line of block.split("\n")) {
        const at = line.indexOf(":");
        const text = line.slice(at + 1).replace(/^ /, "");
        if (line.startsWith("event:")) name = text;
        else if (line.startsWith("id:")) id = text;
        else if (line.startsWith("data:")) data += text;
      }
      yield { name, id, data: data ? JSON.parse(data) : null };
    }
  }
}
