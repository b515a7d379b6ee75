// A list of any length: as many rows as fit on the screen are drawn, and drawn again as it scrolls.
//
// It is a grid for those who listen: one tab stop, arrows move, Enter opens, Space selects.

import { h } from "./dom.js";

const SPARE_ROWS = 6;
const NEAR_END_ROWS = 60;

let lists = 0;

export class VirtualList {
  /** `create()` returns `{element, show(item)}`; rows are shown again and again with other items. */
  constructor({ label, columns, rowHeight, create, open, toggle, nearEnd }) {
    this.items = [];
    this.active = 0;
    this.ended = true;
    this.isSelected = () => false;
    this.rowHeight = rowHeight;
    this.create = create;
    this.open = open;
    this.toggle = toggle;
    this.nearEnd = nearEnd;
    this.pool = [];
    this.name = `list-${++lists}`;
    this.planned = false;
    this.space = h("div", { class: "list-space", role: "presentation" });
    this.view = h("div", { class: "list-view", role: "presentation", onscroll: () => this.draw() }, this.space);
    this.element = h("div", { class: "list", role: "grid", tabindex: "0", "aria-label": label,
      "aria-colcount": columns.length, "aria-multiselectable": "true", onkeydown: (event) => this.#key(event) },
    h("div", { class: "list-head", role: "row", "aria-rowindex": "1" }, columns), this.view);
    this.resized = new ResizeObserver(() => { this.#fit(); this.draw(); });
    this.resized.observe(this.view);
  }

  /** Show other items; with `added`, so many came in above and what is being looked at stays in its place. */
  set(items, { added = 0, ended = true } = {}) {
    this.items = items;
    this.ended = ended;
    this.space.style.height = `${items.length * this.rowHeight}px`;
    this.element.setAttribute("aria-rowcount", ended ? items.length + 1 : -1);
    if (added && this.view.scrollTop > 0) this.view.scrollTop += added * this.rowHeight;
    if (added && this.#hasFocus()) this.active += added;
    this.active = Math.max(0, Math.min(this.active, items.length - 1));
    this.plan();
  }

  /** Draw before the next frame, once, however often this is called. */
  plan() {
    if (this.planned) return;
    this.planned = true;
    requestAnimationFrame(() => { this.planned = false; this.draw(); });
  }

  draw() {
    if (!this.pool.length) return;
    const first = Math.max(0, Math.floor(this.view.scrollTop / this.rowHeight) - SPARE_ROWS / 2);
    const size = this.pool.length;
    for (let index = first; index < first + size; index++) this.#place(this.pool[index % size], index);
    const active = this.#rowOf(this.active);
    if (active) this.element.setAttribute("aria-activedescendant", active.element.id);
    else this.element.removeAttribute("aria-activedescendant");
    if (first + size > this.items.length - NEAR_END_ROWS && !this.ended) this.nearEnd();
  }

  /** Show the rows again though their items are the same: time has passed, or others are selected. */
  refresh() {
    for (const row of this.pool) row.item = null;
    this.plan();
  }

  stop() {
    this.resized.disconnect();
  }

  #place(row, index) {
    const item = this.items[index];
    const { element } = row;
    if (item === undefined) { element.hidden = true; row.item = null; return; }
    if (row.index !== index) {
      row.index = index;
      element.style.transform = `translateY(${index * this.rowHeight}px)`;
      element.setAttribute("aria-rowindex", index + 2);
    }
    const selected = String(this.isSelected(item));
    if (element.getAttribute("aria-selected") !== selected) element.setAttribute("aria-selected", selected);
    element.classList.toggle("active", index === this.active);
    if (row.item !== item || element.hidden) { row.item = item; row.show(item); element.hidden = false; }
  }

  #rowOf(index) {
    const row = this.pool[index % this.pool.length];
    return row && row.index === index && !row.element.hidden ? row : null;
  }

  #fit() {
    const wanted = Math.ceil(this.view.clientHeight / this.rowHeight) + SPARE_ROWS;
    while (this.pool.length < wanted) this.#add();
    this.pool.forEach((row) => { row.index = -1; });
  }

  #add() {
    const row = this.create();
    row.index = -1;
    row.item = null;
    row.element.id = `${this.name}-${this.pool.length}`;
    row.element.setAttribute("role", "row");
    row.element.hidden = true;
    row.element.addEventListener("click", (event) => this.#click(row, event));
    this.pool.push(row);
    this.space.append(row.element);
  }

  #click(row, event) {
    this.active = row.index;
    if (event.target.closest("[data-select]")) {
      event.preventDefault();
      this.toggle(row.item, event.shiftKey);
    } else if (!event.target.closest("a")) {
      this.open(row.item);
    }
    this.plan();
  }

  #hasFocus() {
    return this.element.contains(document.activeElement);
  }

  #key(event) {
    if (event.target !== this.element || event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.view.clientHeight / this.rowHeight) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    const item = this.items[this.active];
    if (event.key in steps) this.#move(steps[event.key]);
    else if (event.key === "Enter" && item) this.open(item);
    else if (event.key === " " && item) this.toggle(item, event.shiftKey);
    else return;
    event.preventDefault();
    this.plan();
  }

  #move(step) {
    this.active = Math.max(0, Math.min(this.items.length - 1, this.active + step));
    const top = this.active * this.rowHeight;
    const { scrollTop, clientHeight } = this.view;
    if (top < scrollTop) this.view.scrollTop = top;
    else if (top + this.rowHeight > scrollTop + clientHeight) this.view.scrollTop = top + this.rowHeight - clientHeight;
  }
}
