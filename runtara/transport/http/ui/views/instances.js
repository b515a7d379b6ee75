// All instances of the tenant: searched, filtered, kept up live, and dealt with in numbers.

import { get } from "../api.js";
import { announce, h, replace, setText } from "../dom.js";
import { icon } from "../icons.js";
import { VirtualList } from "../list.js";
import { link, note } from "../router.js";
import { Rows } from "../rows.js";
import { live } from "../session.js";
import { STATUSES, badge, showStatus } from "../status.js";
import { instant, number, programName, relative, span } from "../text.js";
import { complain } from "../toast.js";
import { bulkBar } from "./bulk.js";
import { askStart } from "./start.js";

const PAGE_ROWS = 500;
const ROW_HEIGHT = 44;
const TYPING_MS = 180;
const ORDERS = [["-created", "Newest first"], ["created", "Oldest first"], ["id", "By id"],
  ["-finished", "Finished last"], ["finished", "Finished first"]];

export function instances(place, _args, query) {
  const view = new InstancesView(place, query);
  return () => view.leave();
}

class InstancesView {
  constructor(place, query) {
    this.filter = { status: STATUSES.includes(query.get("status")) ? query.get("status") : "", search: query.get("search") || "" };
    this.order = ORDERS.some(([name]) => name === query.get("order")) ? query.get("order") : ORDERS[0][0];
    this.selected = new Set();
    this.anchor = null;
    this.waiting = new Map();
    this.reading = null;
    this.counting = false;
    this.#draw(place);
    this.rows = new Rows({ ...this.filter }, this.order);
    this.unwatch = live.watch("instances", { item: (row) => this.#hear(row), again: () => this.#readAgain(), refused: complain });
    this.ticking = setInterval(() => this.list.refresh(), 1000);
    this.#read();
  }

  leave() {
    this.unwatch();
    clearInterval(this.ticking);
    clearTimeout(this.typing);
    this.reading?.abort();
    this.list.stop();
  }

  // What is drawn once --------------------------------------------------------------------------------------------

  #draw(place) {
    this.list = new VirtualList({ label: "Instances", columns: this.#columns(), rowHeight: ROW_HEIGHT, create: createRow,
      open: (row) => { location.hash = link(["instances", row.instance_id]); },
      toggle: (row, range) => this.#toggle(row, range), nearEnd: () => this.#more() });
    this.list.isSelected = (row) => this.selected.has(row.instance_id);
    this.over = h("div", { class: "over", hidden: true });
    this.bulk = bulkBar({ chosen: () => [...this.selected], clear: () => this.#select([]),
      filter: () => this.filter, all: () => this.rows.items.length === this.selected.size && !this.rows.ended });
    place.append(
      h("div", { class: "head" }, h("h1", {}, "Instances"), this.#orderChoice(),
        h("button", { type: "button", class: "primary", "data-needs": "operate", onclick: () => askStart() }, icon("plus"), "Start an instance")),
      this.#filters(), this.bulk.element, h("div", { class: "list-card" }, this.list.element, this.over));
  }

  #columns() {
    this.tickAll = h("span", { class: "tick" }, icon("completed"));
    const head = (text, kind = "") => h("span", { role: "columnheader", class: kind }, text);
    return [
      h("span", { role: "columnheader" }, h("span", { "data-select": true, role: "checkbox", "aria-checked": "false", tabindex: "0",
        "aria-label": "Select all that are listed", onclick: () => this.#toggleAll(),
        onkeydown: (event) => { if (event.key === " ") { event.preventDefault(); this.#toggleAll(); } } }, this.tickAll)),
      head("Status"), head("Instance"), head("Program", "wide"), head("Epoch", "wide right"), head("Created", "mid"), head("Duration", "wide right"),
    ];
  }

  #filters() {
    const search = h("input", { type: "search", placeholder: "Search by id or program", "aria-label": "Search by id or program",
      value: this.filter.search, oninput: () => this.#typed(search.value.trim()) });
    this.chips = ["", ...STATUSES].map((status) => h("button", { type: "button", class: "chip", "data-filter": status || "all",
      onclick: () => this.#choose({ status }) },
    status && icon(status), status ? status[0].toUpperCase() + status.slice(1) : "All", h("span", { class: "count" })));
    return h("div", { class: "filters", role: "search" }, h("div", { class: "search" }, icon("search"), search),
      h("div", { class: "chips", role: "group", "aria-label": "Status" }, this.chips));
  }

  #orderChoice() {
    const order = h("select", { class: "order", "aria-label": "Order", onchange: () => { this.order = order.value; this.#choose({}); } },
      ORDERS.map(([name, word]) => h("option", { value: name }, word)));
    order.value = this.order;
    return order;
  }

  // Reading and hearing -------------------------------------------------------------------------------------------

  #typed(search) {
    clearTimeout(this.typing);
    this.typing = setTimeout(() => this.#choose({ search }), TYPING_MS);
  }

  #choose(change) {
    Object.assign(this.filter, change);
    note({ ...this.filter, order: this.order === ORDERS[0][0] ? "" : this.order });
    this.#select([]);
    this.list.view.scrollTop = 0;
    this.list.active = 0;
    this.#read();
  }

  /** Read the list from its beginning, as far as it is shown; what is told meanwhile is taken in after that. */
  async #read(least = 0) {
    this.reading?.abort();
    this.replacing = true;
    this.failed = false;
    this.waiting = new Map();
    const rows = new Rows({ ...this.filter }, this.order);
    for (const chip of this.chips) chip.setAttribute("aria-pressed", String(chip.dataset.filter === (this.filter.status || "all")));
    if (!this.list.items.length) this.#cover("reading");
    this.#count();
    do {
      const came = await this.#page(rows);
      if (came === null) return true; // another reading has begun
      if (!came) { this.replacing = false; this.#catchUp(); return false; }
    } while (rows.items.length < least && !rows.ended);
    this.rows = rows;
    this.replacing = false;
    this.#catchUp();
    return true;
  }

  /** Read it again because the server says so, as it has begun to watch or has lost the place. */
  async #readAgain() {
    const done = await this.#read(this.rows.items.length);
    if (done) this.list.element.dataset.watched = "yes";
    return done;
  }

  async #more() {
    if (!this.reading && !this.replacing && !this.failed && !this.rows.ended && (await this.#page(this.rows))) this.#catchUp();
  }

  /** Read one page more; tells whether it came, or null where it was given up for another reading. */
  async #page(rows) {
    const reading = new AbortController();
    this.reading = reading;
    try {
      const page = await get("/instances", { statuses: this.filter.status, search: this.filter.search, order: this.order, limit: PAGE_ROWS, cursor: rows.cursor }, { signal: reading.signal });
      if (this.reading !== reading) return null;
      rows.addPage(page.instances, page.cursor);
      this.reading = null;
      return true;
    } catch (error) {
      if (this.reading !== reading) return null;
      this.reading = null;
      this.failed = true; // nobody asks again by scrolling: a button does, or the next connection
      complain(error);
      if (!this.rows?.items.length) this.#cover("unread");
      return false;
    }
  }

  async #count() {
    if (this.counting) { this.countAgain = true; return; }
    this.counting = true;
    try {
      const { counts } = await get("/instances-by-status");
      for (const chip of this.chips) {
        const status = chip.dataset.filter;
        const count = status === "all" ? Object.values(counts).reduce((sum, one) => sum + one, 0) : counts[status] || 0;
        setText(chip.querySelector(".count"), number(count));
      }
    } catch (error) {
      complain(error);
    } finally {
      this.counting = false;
      if (this.countAgain) { this.countAgain = false; setTimeout(() => this.#count(), 1000); }
    }
  }

  /** Keep the newest of each until the next frame: a thousand changes are one drawing. */
  #hear(row) {
    this.waiting.set(row.instance_id, row);
    if (this.waiting.size === 1) requestAnimationFrame(() => this.#catchUp());
  }

  #catchUp() {
    if (this.replacing) return;
    const heard = [...this.waiting.values()];
    this.waiting.clear();
    const top = Math.floor(this.list.view.scrollTop / ROW_HEIGHT);
    let added = 0;
    for (const row of heard) added += this.rows.take(row, top + added);
    if (heard.length) this.#count();
    if (heard.length === 1) announce(`${heard[0].instance_id} is ${heard[0].status}`);
    this.#show(added);
  }

  #show(added = 0) {
    this.list.set(this.rows.items, { added, ended: this.rows.ended });
    if (this.rows.items.length || this.rows.ended) this.#cover(this.rows.items.length ? null : "empty");
    this.bulk.show();
  }

  #cover(what) {
    this.over.hidden = what === null;
    if (what === this.covered) return;
    this.covered = what;
    if (what === null) replace(this.over);
    this.over.classList.toggle("empty", what === "empty" || what === "unread");
    if (what === "unread") replace(this.over, icon("warning"), h("h2", {}, "The list could not be read"), h("button", { type: "button", onclick: () => this.#read() }, "Try again"));
    if (what === "reading") replace(this.over, Array.from({ length: 6 }, () => h("i", { class: "bone", "aria-hidden": "true" })));
    if (what === "empty") replace(this.over, this.filter.status || this.filter.search ? nothingFits(() => this.#clear()) : nothingYet());
    if (what === "empty") this.covered = null;
  }

  #clear() {
    document.querySelector(".search input").value = "";
    this.#choose({ status: "", search: "" });
  }

  // Selecting -----------------------------------------------------------------------------------------------------

  #toggle(row, range) {
    const ids = this.rows.items.map((one) => one.instance_id);
    const at = ids.indexOf(row.instance_id);
    const from = range && this.anchor !== null ? ids.indexOf(this.anchor) : at;
    const chosen = new Set(this.selected);
    const add = !chosen.has(row.instance_id);
    for (const id of ids.slice(Math.min(from, at), Math.max(from, at) + 1)) if (add) chosen.add(id); else chosen.delete(id);
    this.anchor = row.instance_id;
    this.#select(chosen);
  }

  #toggleAll() {
    const all = this.selected.size === this.rows.items.length;
    this.#select(all ? [] : this.rows.items.map((row) => row.instance_id));
  }

  #select(ids) {
    this.selected = new Set(ids);
    const all = this.selected.size > 0 && this.selected.size === this.rows?.items.length;
    this.tickAll.classList.toggle("on", all);
    this.tickAll.parentElement.setAttribute("aria-checked", String(all));
    this.bulk.show();
    this.list.plan();
  }
}

function createRow() {
  const status = badge({ status: "pending" });
  const anchor = h("a", { tabindex: "-1" });
  const program = h("span", { role: "gridcell", class: "soft wide" });
  const attempt = h("span", { role: "gridcell", class: "number wide right" });
  const created = h("span", { role: "gridcell", class: "soft number mid" });
  const took = h("span", { role: "gridcell", class: "number wide right" });
  const element = h("div", { class: "row" },
    h("span", { role: "gridcell" }, h("span", { "data-select": true, title: "Select" }, h("span", { class: "tick" }, icon("completed")))),
    h("span", { role: "gridcell" }, status), h("span", { role: "gridcell", class: "id" }, anchor), program, attempt, created, took);
  const show = (row) => {
    const now = Date.now();
    element.dataset.id = row.instance_id;
    showStatus(status, row);
    setText(anchor, row.instance_id);
    anchor.setAttribute("href", link(["instances", row.instance_id]));
    anchor.title = row.instance_id;
    setText(program, programName(row.program));
    program.title = row.program || "";
    setText(attempt, row.epoch ? String(row.epoch) : "–");
    setText(created, relative(row.created_at, now));
    created.title = instant(row.created_at);
    setText(took, row.started_at ? span((row.finished_at ?? now) - row.started_at) : "–");
  };
  return { element, show };
}

function nothingFits(clear) {
  return [icon("search"), h("h2", {}, "Nothing fits"), h("p", {}, "No instance is like that."),
    h("button", { type: "button", onclick: clear }, "Show all")];
}

function nothingYet() {
  return [icon("instances"), h("h2", {}, "No instances yet"),
    h("p", {}, "Start one here, or from a shell with ", h("code", {}, "runtara start PROGRAM"), ". It will appear by itself."),
    h("button", { type: "button", class: "primary", "data-needs": "operate", onclick: () => askStart() }, icon("plus"), "Start an instance")];
}
