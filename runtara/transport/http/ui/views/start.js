// The question what to start.

import { get, newId, post } from "../api.js";
import { ask, checkJson, checkWhole } from "../dialog.js";
import { go } from "../router.js";
import { base64Of } from "../text.js";
import { tell } from "../toast.js";

const ID = /^[A-Za-z0-9][A-Za-z0-9._:@+-]{0,127}$/;

/** Refuses what is no id; for fields. */
export const checkId = (text) => (ID.test(text) ? "" : "Letters, digits and . _ : @ + - only; a letter or digit first");

/** Ask what to start, start it, and show it. `image` is a name to begin with. */
export async function askStart({ image = "" } = {}) {
  const images = await namesOfImages();
  const started = await ask({
    title: "Start an instance", action: "Start",
    fields: [
      { name: "kind", label: "What", kind: "choice", value: image ? "image" : "program",
        options: [["program", "A program below the server's folders"], ["image", "An image that was pushed"]] },
      { name: "program", label: "Name", value: image, required: true,
        help: images.length ? `Images: ${images.join(", ")}` : "As in “reports/nightly.py”; an image also with a version, “report@3”" },
      { name: "instance_id", label: "Id", help: "Left empty, a random one. The same start twice under one id is one instance.", check: checkId },
      { name: "input", label: "Input (JSON)", kind: "long", help: "Left empty, none", check: checkJson },
      { name: "priority", label: "Priority", kind: "number", half: true, value: "0", help: "From -100 to 100, higher goes first", check: checkWhole(-100, 100) },
      { name: "timeout", label: "Time limit in seconds", kind: "number", half: true, help: "All attempts together; rests do not count", check: checkWhole(1, 31_536_000) },
      { name: "start_at", label: "Not before", kind: "datetime-local", help: "Left empty, now" },
    ],
    work: (values) => post("/instances", startOf(values)),
  });
  if (!started) return;
  tell(started.created ? `${started.instance_id} was started` : `${started.instance_id} was there already`);
  go(["instances", started.instance_id]);
}

/** The command that the fields say. */
export function startOf(values) {
  return {
    instance_id: values.instance_id || newId(),
    program: values.program,
    image: values.kind === "image",
    input: values.input.trim() ? base64Of(values.input) : null,
    priority: Number(values.priority || 0),
    timeout_ms: values.timeout ? Number(values.timeout) * 1000 : null,
    start_at: values.start_at ? new Date(values.start_at).getTime() : null,
  };
}

async function namesOfImages() {
  try {
    return (await get("/images", { limit: 20 })).images.map((image) => image.name);
  } catch {
    return []; // only a hint: the start itself says what is wrong
  }
}
