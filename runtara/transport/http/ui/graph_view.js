// The graph of an instance of a workflow, drawn in SVG, and below it the same as a list. Arrow keys go from node to node.

import { get, path } from "./api.js";
import { h, replace, svg } from "./dom.js";
import { BEGIN, beginning, checkpointOf, everyNode, peeks, withStates, wordOf } from "./graph.js";
import { collapsed } from "./graph_collapsing.js";
import { layout, room } from "./graph_layout.js";
import { icon } from "./icons.js";
import { bytesOf, clockTime, instant, plain } from "./text.js";

const MARGIN = 18;
const ICONS = { done: "completed", running: "running", waiting: "suspended", awaiting_signal: "signal", due: "pending", failed: "failed", stopped: "cancelled" };
const KINDS = { task: "task", fork: "fork", delay: "delay", await_signal: "wait for a signal", branch: "route", loop: "loop", child_workflow: "workflow inside" };
const NOW = new Set(["running", "waiting", "awaiting_signal", "due", "failed"]);
const ABOVE = 240; // what is shown above the first node at which something happens
const POOLED = "pool:";
const DRAWN_MAX = 2_000; // nodes that are drawn one by one

const textOf = (base64) => new TextDecoder().decode(bytesOf(base64 ?? ""));

export class GraphView {
  constructor(story) {
    this.story = story;
    this.begun = undefined; // null for an instance of which it is known that it is no workflow, or none that can be drawn
    this.read = new Map();
    this.shown = "";
    this.drawn = false;
    this.focused = 0;
    this.targets = [];
    this.title = h("h2", { id: "graph-title" }, "Workflow");
    this.picture = svg("svg", { class: "graph", role: "group" });
    this.frame = h("div", { class: "graph-frame" }, this.picture);
    this.list = h("div", { class: "graph-list" });
    this.element = h("section", { class: "card graph-card", "aria-labelledby": "graph-title", hidden: true },
      h("div", { class: "card-head" }, this.title),
      this.frame,
      h("details", { class: "as-table" }, h("summary", {}, "The workflow as a list"), this.list));
    this.picture.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Take in what is new of the story: read what is needed to tell how the nodes stand, and draw it. */
  async show() {
    if (this.reading) { this.again = true; return; }
    this.reading = true;
    do {
      this.again = false;
      try {
        if (this.begun === undefined) this.begun = await this.#begin();
        if (this.begun) await this.#peek();
      } catch {
        this.again = false; // the story complains of a server that is away; what comes next is tried again
      }
    } while (this.again);
    this.reading = false;
    this.draw();
  }

  /** Draw again, if anything has changed: something new is known, or time has passed. */
  draw() {
    if (!this.begun) return;
    const { nodes, hidden } = collapsed(withStates(this.begun.nodes, this.#facts()), DRAWN_MAX);
    const shown = JSON.stringify(nodes);
    if (shown === this.shown) return;
    this.shown = shown;
    this.element.hidden = false;
    this.title.textContent = `Workflow ${plain(this.begun.workflow)}${hidden ? ` · ${hidden.toLocaleString("en")} nodes are not drawn one by one` : ""}`;
    this.#draw(nodes);
    replace(this.list, listOf(nodes));
  }

  async #begin() {
    const { story } = this;
    if (story.checkpoints.some((one) => one.checkpoint_id === BEGIN)) return beginning(textOf(await this.#state(BEGIN)));
    return story.info.program?.startsWith(POOLED) ? beginning(textOf(await story.readInput())) : undefined; // not yet, or never
  }

  /** Read what came of routes and loops; a checkpoint never changes, so each is read once. */
  async #peek() {
    for (const place of peeks(this.begun.nodes, this.story.steps)) {
      if (!this.read.has(place)) this.read.set(place, wordOf(place, textOf(await this.#state(checkpointOf(place))), this.begun.codec));
    }
  }

  async #state(checkpointId) {
    return (await get(path("instances", this.story.instanceId, "checkpoints", checkpointId))).state;
  }

  #facts() {
    const { info, steps, events } = this.story;
    const note = events.findLast((event) => event.type === "custom" && event.subtype === "flow::failure");
    return { status: info.status, now: Date.now(), steps, states: Object.fromEntries(this.read), failure: note ? failureOf(note) : null };
  }

  // Drawing -------------------------------------------------------------------------------------------------------

  #draw(nodes) {
    const { width, height, boxes, lines, frames } = layout(nodes, wordsIn);
    const hadFocus = this.picture.contains(document.activeElement);
    const [whole, tall] = [width + 2 * MARGIN, height + 2 * MARGIN];
    this.picture.setAttribute("width", whole);
    this.picture.setAttribute("height", tall);
    this.picture.setAttribute("viewBox", `${-MARGIN} ${-MARGIN} ${whole} ${tall}`);
    this.picture.setAttribute("aria-label", `Graph of the workflow ${plain(this.begun.workflow)}; move with the arrow keys`);
    const order = [...everyNode(nodes)];
    this.targets = order.map(() => null);
    const numbers = new Map(order.map((node, index) => [node, index]));
    const target = (node, element) => this.#target(node, element, numbers.get(node));
    replace(this.picture, frames.map((frame) => target(frame.node, drawFrame(frame))), lines.map(drawLine), boxes.map((box) => target(box.node, drawBox(box))));
    this.focused = Math.min(this.focused, Math.max(0, this.targets.length - 1));
    this.targets[this.focused]?.setAttribute("tabindex", "0");
    if (hadFocus) this.targets[this.focused]?.focus({ preventScroll: true });
    if (!this.drawn) this.frame.scrollTop = (boxes.find(({ node }) => NOW.has(node.state))?.y ?? 0) - ABOVE;
    this.drawn = true;
  }

  #target(node, element, index) {
    element.setAttribute("role", "img");
    element.setAttribute("tabindex", "-1");
    element.setAttribute("aria-label", sentence(node));
    element.addEventListener("focus", () => this.#rove(index));
    this.targets[index] = element;
    return element;
  }

  #rove(index) {
    this.targets[this.focused]?.setAttribute("tabindex", "-1");
    this.focused = index;
    this.targets[index].setAttribute("tabindex", "0");
  }

  #key(event) {
    const moves = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1, Home: -Infinity, End: Infinity };
    if (!(event.key in moves) || !this.targets.length) return;
    event.preventDefault();
    const next = Math.max(0, Math.min(this.targets.length - 1, this.focused + moves[event.key]));
    this.targets[next].focus();
    this.targets[next].scrollIntoView({ block: "nearest", inline: "nearest" });
  }
}

function drawBox({ node, x, y, width, height }) {
  const [first, second] = wordsIn(node).map((text) => cut(text, room(width)));
  const sign = node.state in ICONS ? icon(ICONS[node.state]) : null;
  for (const [name, value] of Object.entries({ x: x + 11, y: y + 15, width: 16, height: 16 })) sign?.setAttribute(name, value);
  return svg("g", { class: `node ${node.state} ${node.kind}` }, svg("title", {}, sentence(node)),
    svg("rect", { x, y, width, height, rx: node.kind === "delay" || node.kind === "await_signal" ? height / 2 : 7 }), sign,
    svg("text", { class: "node-name", x: x + 34, y: y + 20 }, first), svg("text", { x: x + 34, y: y + 36 }, second));
}

function drawFrame({ node, x, y, width, height }) {
  return svg("g", { class: `node-frame ${node.state}` }, svg("title", {}, sentence(node)), svg("rect", { x, y, width, height, rx: 10 }),
    svg("text", { x: x + 14, y: y + 18 }, cut(wordsIn(node)[0], room(width + 20))));
}

function drawLine({ from, to, key, state }) {
  const turn = to.y - 14;
  const calm = state === "not_reached" || state === "skipped";
  return svg("g", { class: `edge${calm ? " calm" : ""}`, "aria-hidden": "true" },
    svg("path", { d: `M${from.x} ${from.y}V${turn}H${to.x}V${to.y - 1}` }), svg("path", { class: "arrow", d: `M${to.x - 4} ${to.y - 6}L${to.x} ${to.y - 1}L${to.x + 4} ${to.y - 6}` }),
    key && svg("text", { x: to.x + 7, y: turn - 4 }, cut(plain(key), 30)));
}

// Words ---------------------------------------------------------------------------------------------------------------

const wordsIn = (node) => [plain(node.label), plain(node.kind === "task" || node.kind === "fork" ? standing(node) : `${standing(node)} · ${node.detail || KINDS[node.kind]}`)];

const cut = (text, most) => (text.length <= most ? text : text.slice(0, Math.max(1, most - 1)) + "…");

function standing(node) {
  const parts = [node.state.replaceAll("_", " ")];
  if (node.iteration) parts.push(node.state === "done" ? `after ${node.iteration}` : `iteration ${node.iteration}`);
  if (node.wakeAt) parts.push(`until ${clockTime(node.wakeAt)}`);
  return parts.join(", ") + (node.failedTries ? ` · ${node.failedTries} failed` : "");
}

/** All that is to be said of a node. */
function sentence(node) {
  const words = [node.label, KINDS[node.kind], node.detail, node.state.replaceAll("_", " "), node.wakeAt ? `until ${instant(node.wakeAt)}` : "",
    node.iteration ? `iteration ${node.iteration}` : "", node.failedTries ? `${node.failedTries} failed tries` : "", node.error?.slice(0, 300)];
  return plain([...new Set(words.filter(Boolean))].join(", "));
}

function listOf(nodes) {
  return h("ol", {}, nodes.map((node) => h("li", {}, sentence(node), node.branches.map((branch) => h("div", { class: "graph-branch" }, branch.key && h("span", { class: "soft" }, plain(branch.key)), listOf(branch.nodes))))));
}

function failureOf(event) {
  try {
    const said = JSON.parse(textOf(event.payload));
    return { task_id: String(said.task_id ?? ""), message: String(said.message ?? "") };
  } catch {
    return null;
  }
}
