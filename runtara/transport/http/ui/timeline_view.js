// The picture of a story: lanes over time, drawn in SVG. Zoomed with the wheel, buttons or + and -, moved by dragging.
//
// Everything in it can be reached with the arrow keys and says what it is; the same is below it as a table.

import { h, replace, svg } from "./dom.js";
import { LANES, clusters, story, ticks } from "./timeline.js";
import { clockTime, instant, span } from "./text.js";

const LANE = 34;
const LEFT = 92;
const RIGHT = 18;
const TOP = 26;
const MARK_GAP = 7;
const HEIGHT = TOP + LANES.length * LANE + 6;
const GLYPHS = { checkpoint: "M0-5L5 0L0 5L-5 0Z", retry: "M-4.5-4.5L4.5 4.5M4.5-4.5L-4.5 4.5", bad: "M-4.5-4.5L4.5 4.5M4.5-4.5L-4.5 4.5",
  sent: "M-4.5-4.5L4.5 0L-4.5 4.5Z", taken: "M-5 0L-1.5 3.8L5-4", custom: "M0-4a4 4 0 1 0 .01 0", created: "M-5-5V5M-5-5H4L1.5-2L4 1H-5",
  step: "M-4-4h8v8h-8z", good: "M-5 0L-1.5 3.8L5-4", stop: "M-4-4h8v8h-8z" };

export class TimelineView {
  constructor() {
    this.picture = svg("svg", { class: "timeline", height: HEIGHT, role: "group", "aria-label": "Timeline; move with the arrow keys" });
    this.tip = h("div", { class: "tip", hidden: true });
    this.frame = h("div", { class: "timeline-frame" }, this.picture, this.tip);
    this.body = h("tbody");
    const zoom = (name, label, factor) => h("button", { type: "button", class: "small quiet", "aria-label": label, title: label, onclick: () => this.#zoom(factor) }, name);
    this.element = h("section", { class: "card", "aria-labelledby": "timeline-title" },
      h("div", { class: "card-head" }, h("h2", { id: "timeline-title" }, "Timeline"), legend(),
        zoom("+", "Zoom in", 0.5), zoom("−", "Zoom out", 2),
        h("button", { type: "button", class: "small quiet", onclick: () => this.#fit() }, "Fit")),
      this.frame,
      h("details", { class: "as-table" }, h("summary", {}, "The timeline as a table"),
        h("div", { class: "scroll-x" }, h("table", {}, h("thead", {}, h("tr", {}, ["When", "Lane", "What", "How long"].map((word) => h("th", { scope: "col" }, word)))), this.body))));
    this.window = null;
    this.focused = 0;
    this.#listen();
    this.resized = new ResizeObserver(() => this.draw());
    this.resized.observe(this.frame);
  }

  /** Show the story of `{info, events, steps}`. */
  show(data) {
    this.data = data;
    this.draw();
    this.#table();
  }

  /** Draw again: time has passed. */
  draw() {
    const width = this.frame.clientWidth;
    if (!this.data || !width) return;
    this.story = story(this.data, Date.now());
    const { from, to } = this.window ?? { from: this.story.from, to: this.story.to + (this.story.to - this.story.from) * 0.02 };
    this.shown = { from, to, width };
    this.scale = (at) => LEFT + ((at - from) / (to - from)) * (width - LEFT - RIGHT);
    this.picture.setAttribute("width", width);
    this.picture.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const hadFocus = this.picture.contains(document.activeElement);
    this.targets = [];
    replace(this.picture, this.#clip(width), this.#axis(), this.#lanes());
    this.focused = Math.min(this.focused, Math.max(0, this.targets.length - 1));
    if (this.targets.length) this.targets[this.focused].element.setAttribute("tabindex", "0");
    if (hadFocus && this.targets.length) this.targets[this.focused].element.focus({ preventScroll: true });
  }

  stop() {
    this.resized.disconnect();
  }

  // Drawing -------------------------------------------------------------------------------------------------------

  #clip(width) {
    return svg("clipPath", { id: "timeline-clip" }, svg("rect", { x: LEFT - 8, y: 0, width: Math.max(0, width - LEFT + 8), height: HEIGHT }));
  }

  #axis() {
    const { from, to, width } = this.shown;
    const most = Math.max(2, Math.floor((width - LEFT) / 96));
    return svg("g", { class: "axis", "aria-hidden": "true" }, ticks(this.story.from, from, to, most).map(({ at, text }) => {
      const x = this.scale(at);
      return [svg("line", { x1: x, x2: x, y1: TOP - 6, y2: HEIGHT - 4 }), svg("text", { x, y: 13, "text-anchor": x > width - 40 ? "end" : "middle" }, text)];
    }));
  }

  #lanes() {
    return LANES.map(([lane, word], index) => {
      const y = TOP + index * LANE;
      const items = this.story.items.filter((item) => item.lane === lane && (item.to ?? item.from) >= this.shown.from && item.from <= this.shown.to);
      const bars = items.filter((item) => item.to !== null).map((item) => this.#bar(item, y));
      const marks = clusters(items.filter((item) => item.to === null), this.scale, MARK_GAP).map((item) => this.#mark(item, y));
      return svg("g", {}, svg("line", { class: "lane", x1: 0, x2: this.shown.width, y1: y + LANE, y2: y + LANE }),
        svg("text", { class: "lane-name", x: 16, y: y + LANE / 2 + 4 }, word), svg("g", { "clip-path": "url(#timeline-clip)" }, bars, marks));
    });
  }

  #bar(item, y) {
    const x = Math.max(this.scale(item.from), LEFT - 20);
    const end = Math.min(this.scale(item.to), this.shown.width + 20);
    const width = Math.max(3, end - x);
    const text = item.label && width > 26 ? svg("text", { class: "bar-text", x: x + 7, y: y + LANE / 2 + 4 }, fit(item.label, width - 14)) : null;
    const cross = item.kind === "bad" && item.lane === "attempts" ? svg("path", { class: "end", d: "M-3.5-3.5L3.5 3.5M3.5-3.5L-3.5 3.5", transform: `translate(${x + width - 1} ${y + LANE / 2})` }) : null;
    return this.#target(item, svg("g", { class: `bar ${item.kind}${item.open ? " open" : ""}` },
      svg("rect", { x, y: y + 7, width, height: LANE - 14, rx: Math.min(4, width / 2) }), text, cross), x + width / 2, y);
  }

  #mark(item, y) {
    const x = this.scale(item.from);
    return this.#target(item, svg("g", { class: `mark ${item.kind}`, transform: `translate(${x} ${y + LANE / 2})` },
      svg("circle", { class: "reach", r: 11 }), svg("path", { d: GLYPHS[item.kind] || GLYPHS.custom })), x, y);
  }

  #target(item, element, x, y) {
    const index = this.targets.length;
    element.setAttribute("role", "img");
    element.setAttribute("tabindex", "-1");
    element.setAttribute("aria-label", [title(item), lasts(item), item.text].filter(Boolean).join(", "));
    element.addEventListener("pointerenter", () => this.#explain(item, x, y));
    element.addEventListener("pointerleave", () => this.#hush());
    element.addEventListener("focus", () => { this.#rove(index); this.#explain(item, x, y); });
    element.addEventListener("blur", () => this.#hush());
    element.addEventListener("dblclick", () => this.#into(item));
    this.targets.push({ element, item });
    return element;
  }

  #rove(index) {
    this.targets[this.focused]?.element.setAttribute("tabindex", "-1");
    this.focused = index;
    this.targets[index].element.setAttribute("tabindex", "0");
  }

  #explain(item, x, y) {
    replace(this.tip, h("strong", {}, title(item)), item.text && h("p", { class: "tip-text" }, item.text.slice(0, 400)),
      h("p", { class: "soft" }, instant(item.from) + (item.to === null ? "" : ` · ${lasts(item)}`)));
    this.tip.hidden = false;
    const left = Math.max(8, Math.min(x - this.tip.offsetWidth / 2, this.shown.width - this.tip.offsetWidth - 8));
    this.tip.style.left = `${left}px`;
    this.tip.style.top = `${y + LANE + 4}px`;
  }

  #hush() {
    this.tip.hidden = true;
  }

  #table() {
    const rows = this.story.items.slice(-500).map((item) => h("tr", {}, h("td", { class: "number" }, instant(item.from)),
      h("td", {}, LANES.find(([lane]) => lane === item.lane)[1]), h("td", {}, item.title, item.text && h("div", { class: "soft" }, item.text.slice(0, 200))),
      h("td", { class: "number" }, item.to === null ? "–" : span(item.to - item.from) + (item.open ? " so far" : ""))));
    replace(this.body, rows);
  }

  // Moving --------------------------------------------------------------------------------------------------------

  #listen() {
    this.picture.addEventListener("keydown", (event) => this.#key(event));
    this.frame.addEventListener("pointerleave", () => this.#hush()); // what was drawn anew below the pointer does not hear it
    this.picture.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.shiftKey) return; // the page scrolls as everywhere
      event.preventDefault();
      this.#zoom(event.deltaY > 0 || event.deltaX > 0 ? 1.25 : 0.8, this.#at(event.offsetX));
    }, { passive: false });
    let grip = null;
    this.picture.addEventListener("pointerdown", (event) => { grip = this.window && { x: event.clientX, ...this.window }; });
    this.picture.addEventListener("pointermove", (event) => {
      if (!grip || !event.buttons) return;
      const moved = (grip.x - event.clientX) * ((grip.to - grip.from) / (this.shown.width - LEFT - RIGHT));
      this.#look(grip.from + moved, grip.to + moved);
    });
    this.picture.addEventListener("pointerup", () => { grip = null; });
  }

  #key(event) {
    const moves = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity };
    if (event.key in moves && this.targets.length) {
      const order = this.targets.map((_, index) => index).sort((a, b) => this.targets[a].item.from - this.targets[b].item.from);
      const next = Math.max(0, Math.min(order.length - 1, order.indexOf(this.focused) + moves[event.key]));
      this.targets[order[next]].element.focus({ preventScroll: true });
    } else if (event.key === "+" || event.key === "=") this.#zoom(0.5, this.targets[this.focused]?.item.from);
    else if (event.key === "-") this.#zoom(2);
    else if (event.key === "0") this.#fit();
    else if (event.key === "Escape") this.#hush();
    else return;
    event.preventDefault();
  }

  #at(x) {
    const { from, to, width } = this.shown;
    return from + ((x - LEFT) / (width - LEFT - RIGHT)) * (to - from);
  }

  #zoom(factor, around) {
    if (!this.shown) return;
    const { from, to } = this.shown;
    const middle = around ?? (from + to) / 2;
    this.#look(middle - (middle - from) * factor, middle + (to - middle) * factor);
  }

  #into(item) {
    const length = Math.max(10, (item.to ?? item.from) - item.from);
    this.#look(item.from - length * 0.15, item.from + length * 1.15);
  }

  #look(from, to) {
    const whole = this.story.to - this.story.from;
    if (to - from < 5) return;
    if (to - from > whole * 1.5) { this.#fit(); return; }
    this.window = { from, to };
    this.draw();
  }

  #fit() {
    this.window = null;
    this.draw();
  }
}

function title(item) {
  return item.members && item.members.length > 1 ? `${item.members.length} × ${item.members[0].title} … ${item.members[item.members.length - 1].title}` : item.title;
}

function lasts(item) {
  return item.to === null ? clockTime(item.from) : (item.open ? "so far " : "") + span(item.to - item.from);
}

function fit(text, width) {
  const most = Math.floor(width / 6.4);
  return text.length <= most ? text : most > 3 ? text.slice(0, most - 1) + "…" : "";
}

function legend() {
  const entry = (kind, word) => h("li", {}, svg("svg", { viewBox: "-8 -8 16 16", width: 14, height: 14, "aria-hidden": "true" },
    svg("g", { class: `mark ${kind}` }, svg("path", { d: GLYPHS[kind] }))), word);
  return h("ul", { class: "legend", "aria-label": "Marks" }, entry("checkpoint", "checkpoint"), entry("retry", "failed try"), entry("sent", "signal"), entry("taken", "acted upon"), entry("custom", "event"));
}
