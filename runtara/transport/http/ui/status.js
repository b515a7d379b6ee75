// The statuses of an instance: how they are shown, and what may be done in each. One row each.

import { h, setText } from "./dom.js";
import { icon, redraw } from "./icons.js";
import { words } from "./text.js";

export const STATUSES = ["pending", "running", "suspended", "completed", "failed", "cancelled"];
export const FINAL = new Set(["completed", "failed", "cancelled"]);

const WAITS = { paused: "paused", sleeping: "sleeping", "waiting-signal": "waiting for a signal",
  crashed: "crashed, will go on", "heartbeat-timeout": "went silent, will go on",
  "shutdown-requested": "shut down, will go on" };

/** What an instance is, in words: a suspended one says why. */
export function statusWords(row) {
  if (row.status === "suspended") return WAITS[row.termination_reason] || "suspended";
  if (row.status === "failed" && row.termination_reason && row.termination_reason !== "application-error") {
    return `failed: ${words(row.termination_reason)}`;
  }
  return row.status;
}

/** A status with its colour, its icon and its word. */
export function badge(row) {
  const element = h("span", { class: "badge" }, icon(row.status), h("span"));
  showStatus(element, row);
  return element;
}

/** Bring a badge up to date. */
export function showStatus(element, row) {
  if (element.dataset.status !== row.status) element.dataset.status = row.status;
  redraw(element.firstElementChild, row.status);
  setText(element.lastElementChild, statusWords(row));
}

/** What may be done to an instance in its status. */
export function deeds(info) {
  const alive = !FINAL.has(info.status);
  const paused = info.status === "suspended" && info.termination_reason === "paused";
  return {
    signal: alive,
    pause: alive && !paused && info.status !== "pending",
    resume: info.status === "suspended",
    cancel: alive,
    retry: info.status === "failed" || info.status === "cancelled",
    fork: true,
  };
}

/** The id under which an instance is retried: `order-7` → `order-7.r1` → `order-7.r2`. */
export function retryId(instanceId) {
  const found = /^(.+)\.r([1-9]\d{0,8})$/s.exec(instanceId);
  return found ? `${found[1]}.r${Number(found[2]) + 1}` : `${instanceId}.r1`;
}
