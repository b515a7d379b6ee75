// The supervision tree, live: who runs, what waits in whose mailbox, who was restarted and why.

import { get } from "../api.js";
import { h, replace, setText } from "../dom.js";
import { icon } from "../icons.js";
import { live } from "../session.js";
import { number } from "../text.js";
import { complain } from "../toast.js";
import { bones } from "./images.js";

const STATES = { running: "completed", started: "completed", starting: "pending", stopped: "cancelled", stopping: "suspended", restarting: "suspended", failed: "failed" };

export function tree(place) {
  const view = new TreeView(place);
  return () => view.leave();
}

class TreeView {
  constructor(place) {
    this.closed = new Set();
    this.rows = new Map();
    this.active = null;
    this.list = h("div", { class: "tree", role: "tree", "aria-label": "Actors", onkeydown: (event) => this.#key(event) });
    this.details = h("section", { class: "card details", "aria-label": "The chosen actor", "aria-live": "off" });
    this.body = h("div", { class: "tree-split" }, h("div", { class: "card" },
      h("div", { class: "tree-head", "aria-hidden": "true" }, ["Actor", "State", "Mailbox", "Handled", "Restarts"].map((word) => h("span", {}, word))), this.list, this.bones = bones()), this.details);
    place.append(h("div", { class: "head" }, h("h1", {}, "Supervision"), h("p", { class: "lead" },
      "What runs inside the server. A supervisor starts what is below it again when it fails; arrow keys open and close.")), this.body);
    this.unwatch = live.watch("tree", { item: (data) => this.#show(data), again: () => this.#read(), refused: complain });
    this.#read();
  }

  leave() {
    this.unwatch();
  }

  async #read() {
    try { this.#show(await get("/tree")); } catch (error) { complain(error); }
  }

  #show(root) {
    this.bones.remove();
    this.root = root;
    const shown = [];
    this.#walk(root, 1, shown);
    const places = new Set(shown.map(({ actor }) => actor.path));
    for (const [path, row] of this.rows) if (!places.has(path)) { row.element.remove(); this.rows.delete(path); }
    shown.forEach(({ actor, level }, index) => {
      const row = this.rows.get(actor.path) ?? this.#create(actor.path);
      row.show(actor, level, !this.closed.has(actor.path));
      if (this.list.children[index] !== row.element) this.list.insertBefore(row.element, this.list.children[index] || null);
    });
    this.order = shown;
    if (!places.has(this.active)) this.#choose(root.path, false);
    else this.#detail();
  }

  #walk(actor, level, shown) {
    shown.push({ actor, level });
    if (!this.closed.has(actor.path)) for (const child of actor.children) this.#walk(child, level + 1, shown);
  }

  #create(path) {
    const row = actorRow(() => { this.#choose(path, true); }, () => this.#toggle(path));
    this.rows.set(path, row);
    return row;
  }

  #choose(path, focus) {
    this.rows.get(this.active)?.element.setAttribute("tabindex", "-1");
    this.rows.get(this.active)?.element.setAttribute("aria-selected", "false");
    this.active = path;
    const { element } = this.rows.get(path);
    element.setAttribute("tabindex", "0");
    element.setAttribute("aria-selected", "true");
    if (focus) element.focus();
    this.#detail();
  }

  #toggle(path) {
    if (!this.closed.delete(path)) this.closed.add(path);
    this.#show(this.root);
  }

  #detail() {
    const found = this.order?.find(({ actor }) => actor.path === this.active);
    if (!found) return;
    const { actor } = found;
    const facts = Object.entries(actor.facts || {});
    replace(this.details, h("div", { class: "card-head" }, h("h2", { class: "mono wrap" }, actor.path)), h("div", { class: "card-body" },
      actor.failure && h("div", { class: "trouble" }, icon("warning"), h("div", {}, h("h3", {}, "How its last life ended"), h("pre", {}, actor.failure))),
      h("dl", { class: "pairs" }, [["Kind", actor.kind], ["State", actor.state], ["Mailbox", actor.kind === "supervisor" ? "–" : `${number(actor.mailbox_depth)} of ${number(actor.mailbox_bound)}, then ${actor.mailbox_policy}`],
        ["Handled", number(actor.handled)], ["Restarts", number(actor.restarts)], ["Asks now", (actor.waits_for || []).join(", ") || "nobody"],
        ...facts.map(([name, value]) => [name.replaceAll("_", " "), typeof value === "object" ? JSON.stringify(value) : String(value)])]
        .map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", { class: "wrap" }, value))))));
  }

  #key(event) {
    const at = this.order.findIndex(({ actor }) => actor.path === this.active);
    const { actor, level } = this.order[at];
    const open = actor.children.length && !this.closed.has(actor.path);
    const parent = () => { for (let i = at; i >= 0; i--) if (this.order[i].level < level) return i; return at; };
    let next = null;
    if (event.key === "ArrowDown") next = at + 1;
    else if (event.key === "ArrowUp") next = at - 1;
    else if (event.key === "Home") next = 0;
    else if (event.key === "End") next = this.order.length - 1;
    else if (event.key === "ArrowRight") { if (open) next = at + 1; else if (actor.children.length) this.#toggle(actor.path); }
    else if (event.key === "ArrowLeft") { if (open) this.#toggle(actor.path); else next = parent(); }
    else if (event.key === "Enter" || event.key === " ") { if (actor.children.length) this.#toggle(actor.path); }
    else return;
    event.preventDefault();
    if (next !== null && this.order[next]) this.#choose(this.order[next].actor.path, true);
  }
}

function actorRow(choose, toggle) {
  const twist = h("span", { class: "twist", "aria-hidden": "true", onclick: (event) => { event.stopPropagation(); toggle(); } }, icon("chevron"));
  const name = h("span", { class: "actor-name" });
  const kind = h("span", { class: "soft" });
  const state = h("span", { class: "badge" }, icon("completed"), h("span"));
  const meter = h("span", { class: "meter" }, h("i"));
  const depth = h("span", { class: "number" });
  const handled = h("span", { class: "number" });
  const restarts = h("span", { class: "number restarts" });
  const element = h("div", { class: "tree-row", role: "treeitem", tabindex: "-1", "aria-selected": "false", onclick: choose, ondblclick: toggle },
    h("span", { class: "actor" }, twist, name, kind), h("span", {}, state), h("span", { class: "mail" }, meter, depth), handled, restarts);
  const show = (actor, level, open) => {
    const short = actor.path.split("/").pop();
    const holds = actor.kind !== "supervisor";
    element.setAttribute("aria-level", level);
    element.dataset.path = actor.path;
    if (actor.children.length) element.setAttribute("aria-expanded", String(open));
    else element.removeAttribute("aria-expanded");
    element.setAttribute("aria-label", `${short}, ${actor.kind}, ${actor.state}` + (holds ? `, ${actor.mailbox_depth} in the mailbox` : "") + (actor.restarts ? `, restarted ${actor.restarts} times` : ""));
    element.firstElementChild.style.paddingLeft = `${(level - 1) * 18}px`;
    twist.classList.toggle("none", !actor.children.length);
    setText(name, short);
    setText(kind, actor.kind);
    state.dataset.status = actor.failure && actor.state !== "running" ? "failed" : STATES[actor.state] || "pending";
    setText(state.lastElementChild, actor.state);
    const share = holds ? actor.mailbox_depth / actor.mailbox_bound : 0;
    meter.hidden = !holds;
    meter.firstElementChild.style.width = `${share ? Math.max(4, Math.round(share * 100)) : 0}%`;
    meter.classList.toggle("high", share > 0.5);
    setText(depth, holds ? number(actor.mailbox_depth) : "");
    setText(handled, holds ? number(actor.handled) : "");
    setText(restarts, actor.restarts ? `${actor.restarts} ×` : "–");
    restarts.classList.toggle("some", actor.restarts > 0);
  };
  return { element, show };
}
