// What is done to many instances at once: a bar that appears when some are selected.

import { newId, path, post } from "../api.js";
import { ask } from "../dialog.js";
import { h, setText } from "../dom.js";
import { icon } from "../icons.js";
import { number } from "../text.js";
import { complain, tell } from "../toast.js";

const AT_A_TIME = 8;
const DEEDS = [
  { kind: "pause", word: "Pause", icon: "suspended", done: "asked to pause" },
  { kind: "resume", word: "Resume", icon: "running", done: "asked to resume" },
  { kind: "cancel", word: "Cancel", icon: "cancelled", done: "asked to cancel", danger: true },
];

/** The bar: `chosen()` are ids; where `all()` is true, also everything that `filter()` lets through can be meant. */
export function bulkBar({ chosen, clear, filter, all }) {
  const count = h("strong", {});
  const buttons = DEEDS.map((deed) => h("button", { type: "button", class: "small", onclick: () => confirm(deed) }, icon(deed.icon), deed.word));
  const element = h("div", { class: "bulk", "data-needs": "operate", role: "region", "aria-label": "Selected instances", hidden: true }, count, buttons,
    h("button", { type: "button", class: "small quiet", onclick: clear }, "Clear"));

  function show() {
    const ids = chosen();
    element.hidden = !ids.length;
    setText(count, `${number(ids.length)} selected`);
  }

  async function confirm(deed) {
    const ids = chosen();
    const everything = all();
    const done = await ask({
      title: `${deed.word} ${number(ids.length)} ${ids.length === 1 ? "instance" : "instances"}?`,
      text: deed.kind === "cancel" ? "Each is asked to end; what it has saved stays. This cannot be taken back." : "Those that are finished stay as they are.",
      action: deed.word, danger: Boolean(deed.danger),
      fields: everything ? [{ name: "everything", kind: "checkbox", label: "Also those that fit the filter and are not listed yet" }] : [],
      work: (values) => (values.everything ? signalAll(deed.kind, filter()) : signalEach(deed.kind, ids)),
    });
    if (!done) return;
    if (done.refused.length) complain(Object.assign(new Error(refusals(done)), { code: done.refused[0].code }));
    if (done.count) tell(`${number(done.count)} ${done.count === 1 ? "instance was" : "instances were"} ${deed.done}`);
    clear();
  }

  return { element, show };
}

function refusals({ refused }) {
  const [first] = refused;
  return `${number(refused.length)} refused: ${first.instanceId}: ${first.message}` + (refused.length > 1 ? ", and others" : "");
}

async function signalEach(kind, ids) {
  const outcome = { count: 0, refused: [] };
  const left = [...ids];
  const work = async () => {
    for (let id = left.pop(); id !== undefined; id = left.pop()) {
      try {
        await post(path("instances", id, "signals"), { kind, signal_id: newId() });
        outcome.count++;
      } catch (error) {
        outcome.refused.push({ instanceId: id, code: error.code, message: error.message });
      }
    }
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, work));
  return outcome;
}

async function signalAll(kind, { status, search }) {
  const outcome = { count: 0, refused: [] };
  const command = { kind, signal_id: newId(), filter: { status: status || null, search: search || "" }, limit: 1000, cursor: null };
  do {
    const page = await post("/bulk/signals", command);
    for (const { instance_id: instanceId, code, error } of page.outcomes) {
      if (code) outcome.refused.push({ instanceId, code, message: error });
      else outcome.count++;
    }
    command.cursor = page.cursor ?? null;
  } while (command.cursor);
  return outcome;
}
