// What is done to one instance: each a question first, then a command that may be sent again without harm.

import { newId, path, post } from "../api.js";
import { ask, checkJson } from "../dialog.js";
import { h } from "../dom.js";
import { icon } from "../icons.js";
import { go } from "../router.js";
import { deeds, retryId } from "../status.js";
import { base64Of } from "../text.js";
import { attempt, tell } from "../toast.js";
import { checkId } from "./start.js";

/** The buttons of an instance; `show(info)` allows those that its status does. */
export function deedButtons({ info, checkpoints }) {
  const id = () => info().instance_id;
  const button = (name, word, sign, act, kind = "") =>
    h("button", { type: "button", class: kind, "data-deed": name, onclick: act }, icon(sign), word);
  const buttons = [
    button("signal", "Signal", "signal", () => askSignal(id())),
    button("pause", "Pause", "suspended", () => send(id(), "pause", "It was asked to pause")),
    button("resume", "Resume", "running", () => send(id(), "resume", "It was asked to resume")),
    button("retry", "Retry", "retry", () => askRetry(id()), "primary"),
    button("fork", "Fork", "fork", () => askFork(id(), checkpoints())),
    button("cancel", "Cancel", "cancelled", () => askCancel(id())),
  ];
  const element = h("div", { class: "deeds", "data-needs": "operate", role: "group", "aria-label": "What to do" }, buttons);
  const show = (now) => {
    const allowed = deeds(now);
    for (const one of buttons) one.hidden = !allowed[one.dataset.deed];
  };
  return { element, show };
}

const signals = (id) => path("instances", id, "signals");

async function send(id, kind, done) {
  if (await attempt(() => post(signals(id), { kind, signal_id: newId() }))) tell(done);
}

async function askCancel(id) {
  const signalId = newId();
  const done = await ask({ title: `Cancel ${id}?`, action: "Cancel the instance", danger: true,
    text: "Its program is asked to end, and stopped if it does not. What it has saved stays. This cannot be taken back.",
    work: () => post(signals(id), { kind: "cancel", signal_id: signalId }) });
  if (done) tell("It was asked to cancel");
}

async function askSignal(id) {
  const signalId = newId();
  const done = await ask({ title: `Send a signal to ${id}`, action: "Send",
    fields: [
      { name: "name", label: "Name", required: true, help: "As the program waits for it" },
      { name: "payload", label: "Content (JSON)", kind: "long", help: "Left empty, none", check: checkJson },
    ],
    work: ({ name, payload }) => post(signals(id), { kind: "custom", signal_id: signalId, name, payload: base64Of(payload.trim()) }) });
  if (done) tell("The signal is stored; the program sees it when it looks");
}

async function askRetry(id) {
  const next = retryId(id);
  const done = await ask({ title: `Retry ${id}?`, action: "Retry",
    text: `A new instance, ${next}, goes on from its last checkpoint. ${id} itself stays as it is.`,
    work: () => post(path("instances", id, "forks"), { instance_id: next }) });
  if (done) arrive(done);
}

async function askFork(id, checkpoints) {
  const places = checkpoints.map((one) => one.checkpoint_id).reverse().slice(0, 500);
  const done = await ask({ title: `Fork ${id}`, action: "Fork",
    text: "A new instance with the same program and a copy of the checkpoints goes on from there.",
    fields: [
      { name: "instance_id", label: "Id of the new one", required: true, value: `${id}.fork`.slice(0, 128), check: checkId },
      { name: "checkpoint_id", label: "Last checkpoint to take along", kind: "choice",
        options: [["", "All that there are"], ...places.map((place) => [place, place])] },
      { name: "input", label: "Another input (JSON)", kind: "long", help: "Left empty, that of the source", check: checkJson },
    ],
    work: (values) => post(path("instances", id, "forks"), { instance_id: values.instance_id,
      checkpoint_id: values.checkpoint_id || null, input: values.input.trim() ? base64Of(values.input) : null }) });
  if (done) arrive(done);
}

function arrive(started) {
  tell(started.created ? `${started.instance_id} was started` : `${started.instance_id} was there already`);
  go(["instances", started.instance_id]);
}
