// Bytes of a program, shown: as JSON where they are, as text where they are, else as hexadecimal digits. Never as HTML.

import { h } from "./dom.js";
import { icon } from "./icons.js";
import { bytesOf, readable, size } from "./text.js";

const SHOWN_CHARS = 100_000;
const COLOURED_CHARS = 30_000;
const TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** A viewer of base64 content, with buttons to copy and download it. */
export function payload(base64, { name, empty }) {
  if (base64 === null || base64 === undefined) return h("p", { class: "nothing soft" }, empty);
  const found = readable(base64);
  if (found.kind === "empty") return h("p", { class: "nothing soft" }, "It is empty: no bytes at all.");
  const pre = h("pre", { class: "payload", tabindex: "0", "aria-label": `${name}, ${found.kind}` });
  const fillWith = (text) => pre.replaceChildren(...(found.kind === "json" && text.length <= COLOURED_CHARS ? coloured(text) : [text]));
  fillWith(found.text.slice(0, SHOWN_CHARS));
  const more = found.text.length > SHOWN_CHARS && h("button", { type: "button", class: "small",
    onclick: (event) => { fillWith(found.text); event.currentTarget.remove(); } }, `Show all of ${size(found.size)}`);
  return h("div", { class: "viewer" },
    h("div", { class: "viewer-head" }, h("span", { class: "soft" }, `${{ json: "JSON", text: "Text", binary: "Bytes" }[found.kind]} · ${size(found.size)}`),
      h("button", { type: "button", class: "small quiet", onclick: (event) => copy(event.currentTarget, found.text) }, icon("copy"), h("span", {}, "Copy")),
      h("button", { type: "button", class: "small quiet", onclick: () => download(base64, name) }, icon("down"), "Download")),
    pre, more);
}

function coloured(text) {
  const parts = [];
  let at = 0;
  for (const match of text.matchAll(TOKEN)) {
    if (match.index > at) parts.push(text.slice(at, match.index));
    const kind = match[1] ? (match[2] ? "key" : "string") : match[3] ? "word" : "figure";
    parts.push(h("span", { class: `json-${kind}` }, match[1] || match[0]));
    if (match[2]) parts.push(match[2]);
    at = match.index + match[0].length;
  }
  parts.push(text.slice(at));
  return parts;
}

async function copy(button, text) {
  const word = button.lastElementChild;
  try {
    await navigator.clipboard.writeText(text);
    word.textContent = "Copied";
  } catch {
    word.textContent = "The browser does not allow it";
  }
}

function download(base64, name) {
  const address = URL.createObjectURL(new Blob([bytesOf(base64)], { type: "application/octet-stream" }));
  const anchor = h("a", { href: address, download: name.replace(/[^\w.-]+/g, "_") });
  anchor.click();
  URL.revokeObjectURL(address);
}
