// The story of an instance as spans and marks on lanes. Pure functions of what was read; no elements here.

import { readable, span, words } from "./text.js";

const DURABLE = /^durable::(?:__main__\.)?(.+)\([0-9a-f]{24}\)$/s;

/** What a step is called: of a durable function its name, without the sum of its arguments. */
export const stepName = (step) => step.name || (DURABLE.exec(step.step_id)?.[1] ?? step.step_id);

export const LANES = [
  ["attempts", "Attempts"],
  ["waits", "Rests"],
  ["steps", "Steps"],
  ["signals", "Signals"],
  ["events", "Events"],
];

const BEGINS = new Set(["woken", "registered", "resumed"]);
const ENDS = {
  slept: { rest: "sleeps" },
  paused: { rest: "is paused" },
  "shut-down": { rest: "was shut down, waits for a host" },
  suspended: { rest: "waits for a signal" },
  crashed: { rest: "waits to be launched again", bad: "crashed" },
  "went-silent": { rest: "waits to be launched again", bad: "went silent" },
  "gave-up": { bad: "gave up" },
  failed: { bad: "failed" },
  "timed-out": { bad: "ran out of time" },
  completed: { good: "completed" },
  cancelled: { stop: "cancelled" },
};

/**
 * What is drawn: `{from, to, items}`. An item is `{lane, from, to, kind, title, text}`; marks have `to` null, and what
 * still goes on has `open` true and ends now.
 */
export function story({ info, events, steps }, now) {
  const items = [...lives(info, events, now), ...restsOf(steps, now), ...marksOf(steps), ...eventMarks(events)];
  items.sort((a, b) => a.from - b.from);
  const from = info.created_at;
  const last = items.reduce((latest, item) => Math.max(latest, item.to ?? item.from), from);
  const to = Math.max(info.finished_at ?? now, Math.min(last, now));
  return { from, to: Math.max(to, from + 1), items };
}

// Attempts and the rests between them ---------------------------------------------------------------------------------

function lives(info, events, now) {
  const items = [];
  let attempt = null;
  let number = 0;
  let rest = { from: info.created_at, why: info.program ? "waits for a place" : "waits to register" };
  const stop = (at) => { if (rest && at > rest.from) items.push(restItem(rest, at)); rest = null; };
  for (const event of events) {
    const at = event.created_at;
    if (BEGINS.has(event.type)) {
      if (attempt && attempt.epoch === event.epoch) continue;
      if (attempt) items.push(attemptItem(attempt, at, { bad: "was taken over" }));
      stop(at);
      attempt = { number: ++number, epoch: event.epoch, from: at };
    } else if (event.type in ENDS) {
      const end = ENDS[event.type];
      stop(at);
      if (attempt) items.push(attemptItem(attempt, at, end, event));
      else items.push({ lane: "attempts", from: at, to: null, kind: end.good ? "good" : end.bad ? "bad" : "stop", title: words(event.type), text: "" });
      attempt = null;
      rest = end.rest ? { from: at, why: end.rest } : null;
    }
  }
  if (attempt) items.push(attemptItem(attempt, now, {}, null, true));
  else if (rest && !info.finished_at) items.push(restItem(rest, now, true));
  return items;
}

function attemptItem({ number, epoch, from }, to, end, event = null, open = false) {
  const kind = end.bad ? "bad" : end.good ? "good" : end.stop ? "stop" : "run";
  const outcome = end.bad || end.good || end.stop || (open ? "runs" : end.rest || "");
  const why = event && end.bad && event.payload ? readable(event.payload).text : "";
  return { lane: "attempts", from, to, kind, open, title: `Attempt ${number} (epoch ${epoch}): ${outcome}`, text: why, label: String(number) };
}

function restItem({ from, why }, to, open = false) {
  return { lane: "waits", from, to, open, kind: "rest", title: `The instance ${why}`, text: "", label: why };
}

// Steps ---------------------------------------------------------------------------------------------------------------

const RESTS = new Set(["sleep", "signal"]);

function restsOf(steps, now) {
  return steps.filter((step) => RESTS.has(step.type)).map((step) => ({
    lane: "steps", from: step.started_at, to: step.completed_at ?? now, open: !step.completed_at, kind: step.type,
    title: step.type === "sleep" ? `Sleep ${stepName(step)}` : `Wait for the signal ${stepName(step)}`,
    text: step.error || "", label: stepName(step),
  }));
}

function marksOf(steps) {
  return steps.filter((step) => !RESTS.has(step.type)).map((step) => {
    const failed = step.status === "failed";
    const what = step.type === "checkpoint" ? "Checkpoint" : step.type === "retry" ? "Failed try of" : `Step (${step.type})`;
    const lasts = step.completed_at && step.completed_at > step.started_at && step.type !== "checkpoint" && step.type !== "retry";
    return { lane: "steps", from: step.started_at, to: lasts ? step.completed_at : null,
      kind: step.type === "retry" ? "retry" : failed ? "bad" : step.type === "checkpoint" ? "checkpoint" : "step",
      title: `${what} ${stepName(step)}` + (step.attempt ? `, try ${step.attempt}` : ""),
      text: step.error || (lasts ? `took ${span(step.completed_at - step.started_at)}` : "") };
  });
}

// Signals and custom events -------------------------------------------------------------------------------------------

function eventMarks(events) {
  const items = [];
  for (const event of events) {
    const item = markOf(event);
    if (item) items.push({ from: event.created_at, to: null, ...item });
  }
  return items;
}

const CREATED = { forked: "Created as a fork", replaced: "Created in the place of another one" };

function markOf(event) {
  if (event.type === "signal-sent") {
    const [, ...note] = event.payload ? readable(event.payload).text.split("\n") : [];  // the id of the signal comes first
    return { lane: "signals", kind: "sent", title: `Signal sent: ${event.subtype}`, text: note.join("\n").slice(0, 200) };
  }
  if (event.type === "signal-acknowledged") return { lane: "signals", kind: "taken", title: `Signal acted upon: ${event.subtype}`, text: "" };
  if (event.type === "custom") return { lane: "events", kind: "custom", title: `Event ${event.subtype}`, text: event.payload ? readable(event.payload).text.slice(0, 200) : "" };
  if (event.type === "created") {
    return { lane: "events", kind: "created", title: CREATED[event.subtype] ?? "Created", text: event.payload ? readable(event.payload).text : "" };
  }
  return null;
}

// For drawing ---------------------------------------------------------------------------------------------------------

/** Marks of a lane that are closer than `gap` become one, which says how many it stands for. */
export function clusters(items, scale, gap) {
  const shown = [];
  for (const item of items) {
    const last = shown[shown.length - 1];
    if (last && last.kind === item.kind && scale(item.from) - scale(last.members[last.members.length - 1].from) < gap) last.members.push(item);
    else shown.push({ ...item, members: [item] });
  }
  return shown;
}

const STEPS_MS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000,
  600_000, 900_000, 1_800_000, 3_600_000, 7_200_000, 10_800_000, 21_600_000, 43_200_000, 86_400_000, 172_800_000, 604_800_000];

/** Where the axis has its lines: at most `most` of them, at spans that people count in, from the beginning on. */
export function ticks(begin, from, to, most) {
  const step = STEPS_MS.find((length) => (to - from) / length <= most) ?? Math.ceil((to - from) / most / 604_800_000) * 604_800_000;
  const first = begin + Math.ceil((from - begin) / step) * step;
  const found = [];
  for (let at = first; at <= to; at += step) found.push({ at, text: at === begin ? "0" : `+${span(at - begin)}` });
  return found;
}
