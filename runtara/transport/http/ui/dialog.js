// Questions: a dialog of the browser with fields, that does its work before it closes.

import { h } from "./dom.js";

let fields = 0;

/**
 * Ask, do, close. `work(values)` may throw: then the dialog says why and stays. Returns what `work` returned, or
 * undefined where the person thought better of it. A field is `{name, label, kind, value, help, options, required, check}`.
 */
export function ask({ title, text, action, danger = false, fields: wanted = [], work }) {
  return new Promise((resolve) => {
    const inputs = wanted.map(field);
    const problem = h("p", { class: "problem", role: "alert", hidden: true });
    const submit = h("button", { class: danger ? "danger" : "primary", type: "submit" }, action);
    const cancel = h("button", { type: "button", onclick: () => dialog.close() }, "Keep as it is");
    if (wanted.length) cancel.textContent = "Close";
    const heading = h("h2", { id: `dialog-${++fields}` }, title);
    const form = h("form", { novalidate: true },
      heading, text && h("p", {}, text), inputs.map((input) => input.element), problem,
      h("div", { class: "dialog-foot" }, cancel, submit));
    const dialog = h("dialog", { "aria-labelledby": heading.id }, form);
    let answer;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const values = collect(inputs);
      if (!values) return;
      submit.disabled = true;
      problem.hidden = true;
      try {
        answer = (await work(values)) ?? true;
        dialog.close();
      } catch (error) {
        problem.textContent = error.code ? `${error.message} (${[error.code, error.requestId].filter(Boolean).join(", ")})` : error.message;
        problem.hidden = false;
      } finally {
        submit.disabled = false;
      }
    });
    dialog.addEventListener("close", () => { dialog.remove(); resolve(answer); });
    document.body.append(dialog);
    dialog.showModal();
    if (danger) cancel.focus();
    else if (inputs.length) inputs[0].control.focus();
  });
}

function field({ name, label, kind = "text", value = "", help, options, required = false, check, rows, half = false }) {
  const id = `field-${++fields}`;
  const describedBy = `${id}-help`;
  const attributes = { id, name, value, required, "aria-describedby": describedBy, autocomplete: "off", spellcheck: "false" };
  const control = kind === "choice" ? h("select", attributes, options.map(([key, word]) => h("option", { value: key }, word)))
    : kind === "long" ? h("textarea", { ...attributes, rows: rows || 5 })
    : h("input", { ...attributes, type: kind, step: kind === "datetime-local" ? "1" : null });
  if (kind === "choice") control.value = value || options[0][0];
  if (kind === "checkbox") control.checked = Boolean(value);
  const note = h("p", { id: describedBy, class: "help" }, help || "");
  const parts = kind === "checkbox" ? [h("label", { class: "check", for: id }, control, label)] : [h("label", { for: id }, label), control];
  const element = h("div", { class: `field field-${kind}${half ? " half" : ""}` }, parts, note);
  return { name, kind, control, element, note, help: help || "", required, check, label };
}

function collect(inputs) {
  const values = {};
  let first = null;
  for (const input of inputs) values[input.name] = read(input);
  for (const input of inputs) {
    const wrong = refusal(input, values);
    input.control.setAttribute("aria-invalid", wrong ? "true" : "false");
    input.note.classList.toggle("wrong", Boolean(wrong));
    input.note.textContent = wrong || input.help;
    if (wrong && !first) first = input;
  }
  if (first) { first.control.focus(); return null; }
  return values;
}

function read({ kind, control }) {
  if (kind === "checkbox") return control.checked;
  if (kind === "file") return control.files[0] || null;
  return kind === "long" ? control.value : control.value.trim();
}

function refusal({ name, label, required, check }, values) {
  const value = values[name];
  if (required && (value === "" || value === null)) return `${label} is needed`;
  return (check && value !== "" && value !== null && check(value, values)) || "";
}

/** Refuses what is not JSON; for fields. */
export function checkJson(text) {
  try { JSON.parse(text); return ""; } catch (error) { return `This is not JSON: ${error.message}`; }
}

/** Refuses what is not a whole number from `low` to `high`; for fields. */
export const checkWhole = (low, high) => (text) =>
  (/^-?\d+$/.test(text) && Number(text) >= low && Number(text) <= high ? "" : `A whole number from ${low} to ${high}`);
