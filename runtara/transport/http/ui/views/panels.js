// What an instance has, a panel each: output, input, checkpoints, steps, events.

import { get, path } from "../api.js";
import { add, h, replace } from "../dom.js";
import { icon } from "../icons.js";
import { payload } from "../payload.js";
import { FINAL } from "../status.js";
import { instant, readable, size, span, words } from "../text.js";
import { complain } from "../toast.js";

const SHOWN = 1000;

export function outputPanel(panel, { info }) {
  if (FINAL.has(info.status) && info.output === undefined) { panel.append(h("i", { class: "bone", "aria-hidden": "true" })); return; }
  const empty = FINAL.has(info.status) ? "It has left no output." : "There is no output before it has completed.";
  panel.append(payload(info.output, { name: `${info.instance_id} output`, empty }));
}

export async function inputPanel(panel, story) {
  panel.append(h("i", { class: "bone", "aria-hidden": "true" }));
  try {
    const input = await story.readInput();
    replace(panel, payload(input, { name: `${story.instanceId} input`, empty: "It was started without an input." }));
  } catch (error) {
    replace(panel, h("p", { class: "nothing soft" }, "The input could not be read."));
    complain(error);
  }
}

export function checkpointPanel(panel, story) {
  const rows = story.checkpoints.slice(-SHOWN).reverse();
  if (!rows.length) { panel.append(nothing("completed", "No checkpoints", "What a program saves with a durable step or a checkpoint appears here.")); return; }
  const table = h("table", {}, head(["Checkpoint", "Epoch", "Saved", "Size", "Sleeps until", ""]),
    h("tbody", {}, rows.map((one) => checkpointRow(one, story))));
  add(panel, h("div", { class: "scroll-x" }, table), cut(story.checkpoints.length));
}

function checkpointRow(one, story) {
  const button = h("button", { type: "button", class: "small", "aria-expanded": "false", "aria-label": `State of ${one.checkpoint_id}` }, "State");
  const row = h("tr", {}, h("th", { scope: "row", class: "mono wrap" }, one.checkpoint_id), h("td", { class: "number" }, one.epoch), h("td", { class: "number" }, instant(one.created_at)),
    h("td", { class: "number" }, size(one.size)), h("td", { class: "number" }, one.wake_at ? instant(one.wake_at) : "–"), h("td", { class: "acts" }, button));
  let opened = null;
  button.addEventListener("click", async () => {
    if (opened) { opened.remove(); opened = null; button.setAttribute("aria-expanded", "false"); return; }
    button.setAttribute("aria-expanded", "true");
    try {
      const found = await get(path("instances", story.instanceId, "checkpoints", one.checkpoint_id));
      opened = h("tr", { class: "opened" }, h("td", { colspan: "6" }, payload(found.state ?? "", { name: `${story.instanceId} ${one.checkpoint_id}`, empty: "No state." })));
      row.after(opened);
    } catch (error) {
      button.setAttribute("aria-expanded", "false");
      complain(error);
    }
  });
  return row;
}

export function stepPanel(panel, story) {
  const rows = story.steps.slice(-SHOWN).reverse();
  if (!rows.length) { panel.append(nothing("overview", "No steps", "Checkpoints, sleeps, waits for signals and failed tries appear here.")); return; }
  add(panel, h("div", { class: "scroll-x" }, h("table", {}, head(["Step", "Kind", "Status", "Epoch", "Began", "Took"]),
    h("tbody", {}, rows.map(stepRow)))), cut(story.steps.length));
}

function stepRow(step) {
  const status = { running: "running", completed: "completed", failed: "failed" }[step.status];
  return h("tr", {}, h("th", { scope: "row", class: "wrap" }, step.name || step.step_id, step.error && h("div", { class: "wrong-text" }, step.error)),
    h("td", {}, words(step.type) + (step.attempt ? `, try ${step.attempt}` : "")),
    h("td", {}, h("span", { class: "badge", "data-status": status }, icon(status), h("span", {}, status))),
    h("td", { class: "number" }, step.epoch ?? "–"), h("td", { class: "number" }, instant(step.started_at)),
    h("td", { class: "number" }, step.completed_at ? span(step.completed_at - step.started_at) : "–"));
}

export function eventPanel(panel, story) {
  const rows = story.events.slice(-SHOWN).reverse();
  if (!rows.length) { panel.append(nothing("instances", "No events", "Everything that happens to the instance is written down here.")); return; }
  add(panel, h("div", { class: "scroll-x" }, h("table", {}, head(["When", "Event", "Epoch", "Content"]),
    h("tbody", {}, rows.map((event) => h("tr", {}, h("td", { class: "number" }, instant(event.created_at)),
      h("th", { scope: "row" }, words(event.type) + (event.subtype ? `: ${event.subtype}` : ""), event.checkpoint_id && h("div", { class: "soft mono" }, event.checkpoint_id)),
      h("td", { class: "number" }, event.epoch || "–"), h("td", { class: "mono wrap" }, event.payload ? readable(event.payload).text.slice(0, 500) : "")))))), cut(story.events.length));
}

function head(names) {
  return h("thead", {}, h("tr", {}, names.map((name) => (name ? h("th", { scope: "col" }, name) : h("td", {})))));
}

function nothing(sign, title, text) {
  return h("div", { class: "empty" }, icon(sign), h("h2", {}, title), h("p", {}, text));
}

function cut(count) {
  return count > SHOWN ? h("p", { class: "soft nothing" }, `The newest ${SHOWN} of ${count} are shown.`) : null;
}
