// A file that the page writes.

import { el, breath } from "./dom.js";

const BLOB_LINES = 2000;

export async function download(lines, name) {
  const parts = [];
  let part = [];
  for (const line of lines) {
    part.push(line, "\n");
    if (part.length >= BLOB_LINES) { parts.push(new Blob(part)); part = []; await breath(); }
  }
  const url = URL.createObjectURL(new Blob([...parts, ...part], { type: "application/jsonl" }));
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}
