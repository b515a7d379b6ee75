// Messages that come and go in a corner: what was done, and what was refused.

import { h } from "./dom.js";
import { icon } from "./icons.js";

const SHOWN_MS = 6_000;

/** Say that something was done. */
export function tell(text) {
  show("good", text, null, SHOWN_MS);
}

/** Say that something was refused, with code and request id; stays until it is closed. */
export function complain(error) {
  if (error.name === "AbortError" || error.status === 401) return; // given up, or about to be asked for a key
  const facts = [error.code, error.requestId && `request ${error.requestId}`].filter(Boolean).join(" · ");
  show("bad", error.message, facts, null);
  if (!error.code) console.error(error);
}

/** Run `work`, and complain where it is refused; tells whether it was done. */
export async function attempt(work) {
  try {
    await work();
    return true;
  } catch (error) {
    complain(error);
    return false;
  }
}

function show(kind, text, facts, ms) {
  const toast = h("div", { class: `toast ${kind}`, role: kind === "bad" ? "alert" : null },
    icon(kind === "bad" ? "warning" : "completed"), h("div", {}, h("p", {}, text), facts && h("p", { class: "facts" }, facts)),
    h("button", { type: "button", class: "quiet icon-only", "aria-label": "Close the message", onclick: () => toast.remove() },
      icon("close")));
  const place = document.getElementById("toasts");
  for (const old of [...place.children]) if (old.querySelector("p").textContent === text) old.remove(); // said again: once is enough
  place.append(toast);
  while (place.children.length > 4) place.firstElementChild.remove();
  if (ms) setTimeout(() => toast.remove(), ms);
}
