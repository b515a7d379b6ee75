// Schedules: what is started again and again, and when next.

import { get, path, post, put, remove } from "../api.js";
import { ask, checkJson, checkWhole } from "../dialog.js";
import { h, replace } from "../dom.js";
import { icon } from "../icons.js";
import { link } from "../router.js";
import { base64Of, instant, programName, readable, relative, span } from "../text.js";
import { attempt, complain, tell } from "../toast.js";
import { bones, heads, pages } from "./images.js";
import { checkId } from "./start.js";

const CATCH_UP = [["skip", "Let them go"], ["one", "Make the newest"], ["all", "Make all"]];

export function schedules(place) {
  const card = h("section", { class: "card", "aria-label": "Schedules" }, bones());
  place.append(h("div", { class: "head" }, h("h1", {}, "Schedules"),
    h("button", { type: "button", class: "primary", "data-needs": "operate", onclick: () => edit(null) }, icon("plus"), "New schedule")), card);
  const ticking = setInterval(() => { for (const cell of card.querySelectorAll("[data-at]")) cell.textContent = relative(Number(cell.dataset.at)); }, 1000);
  read();
  return () => clearInterval(ticking);

  async function read() {
    try {
      const all = await pages("/schedules", "schedules");
      replace(card, all.length ? table(all) : nothingYet());
    } catch (error) {
      replace(card, h("p", { class: "nothing soft" }, "The schedules could not be read."));
      complain(error);
    }
  }

  function table(all) {
    return h("div", { class: "scroll-x" }, h("table", {}, heads(["Schedule", "Starts", "When", "Next", "Last", ""]), h("tbody", {}, all.map(row))));
  }

  function row(one) {
    return h("tr", { "data-schedule": one.name },
      h("th", { scope: "row", class: "wrap" }, one.name, one.last_error && h("div", { class: "wrong-text" }, one.last_error)),
      h("td", { class: "wrap" }, one.image ? `image ${one.program}` : programName(one.program)),
      h("td", {}, one.cron ? h("code", {}, one.cron) : `every ${span(one.every_ms)}`, one.cron && h("div", { class: "soft" }, one.timezone)),
      h("td", {}, one.paused ? h("span", { class: "badge", "data-status": "suspended" }, icon("suspended"), h("span", {}, "paused"))
        : one.next_at ? [h("span", { "data-at": one.next_at, title: instant(one.next_at) }, relative(one.next_at)), later(one.name)] : "none any more"),
      h("td", {}, one.last_id ? h("a", { href: link(["instances", one.last_id]) }, one.last_id) : "–"),
      h("td", { class: "acts" },
        h("button", { type: "button", class: "small", "data-needs": "operate", onclick: () => pause(one) }, icon(one.paused ? "running" : "suspended"), one.paused ? "Go on" : "Pause"),
        h("button", { type: "button", class: "small quiet", "data-needs": "operate", "aria-label": `Change ${one.name}`, onclick: () => edit(one.name) }, icon("edit")),
        h("button", { type: "button", class: "small quiet", "data-needs": "operate", "aria-label": `Delete ${one.name}`, onclick: () => drop(one.name) }, icon("trash"))));
  }

  /** The starts behind the next one, for those who ask. */
  function later(name) {
    const button = h("button", { type: "button", class: "small quiet", "aria-expanded": "false", "aria-label": `Starts of ${name} after the next one` }, "…");
    let list = null;
    button.addEventListener("click", async () => {
      if (list) { list.remove(); list = null; button.setAttribute("aria-expanded", "false"); return; }
      await attempt(async () => {
        const { upcoming } = await get(path("schedules", name));
        list = h("ul", { class: "later soft" }, upcoming.slice(1).map((at) => h("li", { title: instant(at) }, instant(at))));
        button.after(list);
        button.setAttribute("aria-expanded", "true");
      });
    });
    return button;
  }

  async function pause(one) {
    if (await attempt(() => post(path("schedules", one.name, "pause"), { paused: !one.paused }))) { tell(one.paused ? `${one.name} goes on` : `${one.name} is paused`); read(); }
  }

  async function drop(name) {
    const done = await ask({ title: `Delete the schedule ${name}?`, action: "Delete", danger: true, text: "What it has started goes on.", work: () => remove(path("schedules", name)) });
    if (done) { tell(`${name} was deleted`); read(); }
  }

  async function edit(name) {
    let known = null;
    if (name && !(await attempt(async () => { known = await get(path("schedules", name)); }))) return;
    const done = await ask({ title: name ? `Change ${name}` : "New schedule", action: name ? "Change" : "Create", fields: fieldsOf(known),
      work: (values) => put(path("schedules", values.name || name), { plan: planOf(values, known) }) });
    if (done) { tell(done.next_at ? `${done.name} starts next ${relative(done.next_at)}` : `${done.name} is stored`); read(); }
  }

  function nothingYet() {
    return h("div", { class: "empty" }, icon("schedules"), h("h2", {}, "No schedules yet"),
      h("p", {}, "A schedule starts a program again and again: by the fields of cron, or every so many seconds."),
      h("button", { type: "button", class: "primary", "data-needs": "operate", onclick: () => edit(null) }, icon("plus"), "New schedule"));
  }
}

function fieldsOf(known) {
  const plan = known?.plan;
  return [
    !known && { name: "name", label: "Name", required: true, check: checkId },
    { name: "kind", label: "What", kind: "choice", value: plan?.start.image ? "image" : "program", options: [["program", "A program below the server's folders"], ["image", "An image that was pushed"]] },
    { name: "program", label: "Program or image", required: true, value: plan?.start.program },
    { name: "cron", label: "When (cron)", value: plan?.cron, help: "Five fields, as in “30 6 * * MON-FRI”; or leave it empty and say how often",
      check: (text) => (/^\S+( +\S+){4,5}$/.test(text) ? "" : "Five fields, or six with the second in front") },
    { name: "every", label: "Every so many seconds", kind: "number", value: plan?.every_ms ? plan.every_ms / 1000 : "", check: checkWhole(1, 31_536_000) },
    { name: "timezone", label: "By the clock of", half: true, value: plan?.timezone || "UTC", help: "As in Europe/Berlin" },
    { name: "catch_up", label: "Starts that were missed", kind: "choice", half: true, value: plan?.catch_up || "skip", options: CATCH_UP },
    { name: "input", label: "Input (JSON)", kind: "long", rows: 3, value: plan?.start.input ? readable(plan.start.input).text : "", check: checkJson },
  ].filter(Boolean);
}

function planOf(values, known) {
  if (Boolean(values.cron) === Boolean(values.every)) throw new Error("Say either when, as cron, or how often: one of the two");
  return {
    ...known?.plan,
    start: { ...known?.plan.start, program: values.program, image: values.kind === "image", input: values.input.trim() ? base64Of(values.input) : null },
    cron: values.cron || null, every_ms: values.every ? Number(values.every) * 1000 : null,
    timezone: values.timezone || "UTC", catch_up: values.catch_up,
  };
}
