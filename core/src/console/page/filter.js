// Which dead letters are meant, and how that is told.

import { cut } from "./dom.js";

export function filterOf({ reason, handler, subject, since, before }) {
  return { reason, handler, subject, since, before };
}

export function toldFilter(filter) {
  const words = Object.entries(filter).filter(([, value]) => value).map(([name, value]) => `${name} ${cut(value, 60)}`);
  return words.length ? words.join(", ") : "all of them";
}
