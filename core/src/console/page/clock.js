// The clock of a simulated engine: a step, a skip, a way back to any point.

import { el, refill, field, time, number, failed, note, setNow, tell } from "./dom.js";
import { get, post } from "./api.js";
import { renew } from "./state.js";

export async function clockView(root, parts, asked, signal) {
  const place = el("div"), wrong = el("div");
  const to = el("input", { name: "to", type: "number", min: 0, value: "0" }), at = el("input", { name: "at", placeholder: "2026-11-30T10:00:00Z", autocomplete: "off" });
  const slider = el("input", { type: "range", min: 0, max: 0, "aria-label": "Step", onchange: () => go({ to_step: Number(slider.value) }) });
  let step = 0;
  const by = (steps, name) => el("button", { type: "button", onclick: () => go(steps < 0 ? { to_step: Math.max(0, step + steps) } : { by_steps: steps }) }, name);
  const form = (ask, ...nodes) => el("form", { onsubmit: (event) => { event.preventDefault(); go(ask()); } }, nodes);
  const show = (clock) => {
    setNow(clock.now, true);
    step = clock.step;
    refill(place, el("p", { class: "big" }, time(clock.now)), el("p", { role: "status" },
      `Step ${number(clock.step)}${clock.steps === null ? "" : ` of ${number(clock.steps)}`}${clock.is_at_end ? ", the end" : ""}${clock.faults ? "; faults are injected" : ""}.`));
    slider.max = clock.steps ?? clock.step;
    slider.value = to.value = clock.step;
    slider.hidden = clock.steps === null;
    tell(`step ${clock.step}`);
  };
  async function go(ask) {
    try {
      show(ask ? await post("clock", ask, signal) : await get("clock", signal));
      refill(wrong);
      if (ask) await renew();
    } catch (error) {
      if (!signal.aborted) refill(wrong, failed(error));
    }
  }
  refill(root, el("h1", { tabindex: -1 }, "Clock"), note("No time passes here by itself."), place, slider,
    el("p", { class: "actions" }, by(-1, "one step back"), " ", by(1, "one step"), " ", by(10, "ten steps"), " ", by(100, "a hundred steps")),
    form(() => ({ to_step: Number(to.value) }), field("to step", to), el("button", null, "Travel there")),
    form(() => ({ to_time: at.value.trim() }), field("to time", at), el("button", null, "Skip to it")), wrong);
  await go();
}
