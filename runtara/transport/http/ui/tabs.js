// Tabs, as the browser's people recommend: one tab stop, arrows move, what is chosen is shown.

import { h, replace } from "./dom.js";

/** `entries` are `[name, word, show(panel)]`; `chosen(name)` hears of every choice. */
export function tabs({ label, entries, first, chosen }) {
  const panel = h("div", { class: "panel", role: "tabpanel", id: "panel", tabindex: "0" });
  const buttons = entries.map(([name, word]) => h("button", { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": "panel",
    "data-tab": name, onclick: () => choose(name) }, h("span", {}, word), h("span", { class: "count" })));
  const list = h("div", { role: "tablist", class: "tabs", "aria-label": label, onkeydown: move }, buttons);
  let current = null;

  function choose(name) {
    if (name === current) return;
    current = name;
    for (const button of buttons) {
      const is = button.dataset.tab === name;
      button.setAttribute("aria-selected", String(is));
      button.setAttribute("tabindex", is ? "0" : "-1");
    }
    panel.setAttribute("aria-labelledby", `tab-${name}`);
    replace(panel);
    entries.find(([one]) => one === name)[2](panel);
    chosen(name);
  }

  function move(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const at = buttons.findIndex((button) => button.dataset.tab === current);
    const next = buttons[(at + step + buttons.length) % buttons.length];
    choose(next.dataset.tab);
    next.focus();
    event.preventDefault();
  }

  function count(name, number) {
    const place = buttons.find((button) => button.dataset.tab === name).querySelector(".count");
    place.textContent = number ? String(number) : "";
  }

  choose(entries.some(([name]) => name === first) ? first : entries[0][0]);
  return { element: h("section", { class: "card tabbed" }, list, panel), count, current: () => current, panel, again: () => { const name = current; current = null; choose(name); } };
}
