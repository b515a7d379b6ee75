// The pane that shows what a program writes.

import { h, replace } from "../dom.js";

/** The pane that shows logs; `logs` are by stream. */
export function logPane(logs) {
  const text = h("pre", { class: "log", tabindex: "0", role: "log", "aria-live": "off", "aria-label": "What the program wrote" });
  const note = h("p", { class: "soft log-note" });
  const follow = h("input", { type: "checkbox", id: "follow" });
  follow.checked = true;
  const buttons = Object.keys(logs).map((stream) => h("button", { type: "button", class: "chip", "data-stream": stream, onclick: () => show(stream) }, stream));
  let shown = null;

  function show(stream) {
    if (shown) logs[shown].changed = () => {};
    shown = stream;
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.stream === stream));
    const log = logs[stream];
    replace(text, log.text);
    log.changed = (added) => { if (added === null) replace(text, log.text); else if (added) text.append(added); settle(log); };
    settle(log);
  }

  function settle(log) {
    note.textContent = !log.text ? `Nothing was written to ${log.stream} yet.` : log.dropped ? "Older lines are not shown." : "";
    if (follow.checked) text.scrollTop = text.scrollHeight;
  }

  text.addEventListener("wheel", (event) => { if (event.deltaY < 0) follow.checked = false; }, { passive: true });
  text.addEventListener("keydown", (event) => { if (["ArrowUp", "PageUp", "Home"].includes(event.key)) follow.checked = false; });
  follow.addEventListener("change", () => { if (follow.checked) text.scrollTop = text.scrollHeight; });
  const element = h("div", {}, h("div", { class: "viewer-head" }, h("div", { class: "chips", role: "group", "aria-label": "Stream" }, buttons),
    h("label", { class: "check follow", for: "follow" }, follow, "Follow")), note, text);
  show("stdout");
  return element;
}
