// The worker: reads what is big, keeps it, and gives the page the part that it shows.

// The story that is looked at, its timeline in the order of time.
let story = { path: null, timeline: [] };

async function got(path, headers) {
  const response = await fetch(path, { headers, cache: "no-store", redirect: "error" });
  if (!response.ok) throw { status: response.status, told: await response.json().catch(() => null) };
  return response.json();
}

// A text as it is read best: JSON with its lines.
function pretty(text) {
  try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; }
}

const calls = {
  // All of a story but its timeline, and how long that is.
  async story(path, headers) {
    const told = await got(path, headers);
    const timeline = [];
    for (const one of [told.entity, ...(told.related ?? [])]) {
      for (const entry of one.trail ?? []) timeline.push({ ...entry, kind: one.kind, id: one.id });
      one.entries = one.trail?.length ?? 0;
      delete one.trail;
      if (one !== told.entity) delete one.state;
    }
    timeline.sort((one, other) => (one.at < other.at ? -1 : one.at > other.at ? 1 : 0));
    story = { path, timeline };
    const { state, ...entity } = told.entity;
    return { ...told, entity, state: JSON.stringify(state, null, 2) ?? "", entries: timeline.length };
  },
  // A part of the timeline, each entry with the day of the one before it.
  async timeline(path, from, to) {
    if (story.path !== path) throw { status: 0, told: { detail: "another story is looked at by now", type: "no_story" } };
    return story.timeline.slice(from, to).map((entry, at) => ({ ...entry, before: story.timeline[from + at - 1]?.at }));
  },
  // A page of dead letters, with the body of no other than this one: each may have 1 MB.
  async letters(path, headers, id) {
    const page = await got(path, headers);
    for (const letter of page.letters) {
      letter.characters = letter.body.length;
      letter.body = letter.id === id ? pretty(letter.body) : "";
    }
    return page;
  },
};

onmessage = async ({ data: { id, what, given } }) => {
  try {
    postMessage({ id, done: await calls[what](...given) });
  } catch (error) {
    const problem = "told" in Object(error) ? error : { status: 0, told: { detail: "the engine can't be reached", type: "no_answer" } };
    postMessage({ id, problem });
  }
};
