// Nothing is changed before somebody has read what will happen, and said so.

import { el } from "./dom.js";
import { state } from "./state.js";

// Tells what will happen, in lines, and asks: true where `act` was chosen.
export function confirmed(title, lines, act) {
  return new Promise((resolve) => {
    const place = state.system?.place ?? "";
    const dialog = el("dialog", { "aria-labelledby": "confirm-title", class: `place-${place}` },
      el("p", { class: "band" }, el("strong", null, place.toUpperCase()), ` ${state.system?.name ?? ""}`),
      el("h2", { id: "confirm-title" }, title),
      lines.map((line) => el("p", null, line)),
      el("p", { class: "actions" },
        el("button", { type: "button", class: "act", id: "confirm-yes", onclick: () => dialog.close("yes") }, act),
        el("button", { type: "button", autofocus: true, onclick: () => dialog.close("") }, "Leave it")));
    dialog.addEventListener("close", () => { dialog.remove(); resolve(dialog.returnValue === "yes"); });
    document.body.append(dialog);
    dialog.showModal();
  });
}
