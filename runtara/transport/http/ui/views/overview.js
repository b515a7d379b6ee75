// How the tenant is doing: how many instances stand where, how many begin and end, and how long they take. Live.

import { get, path } from "../api.js";
import { chart } from "../charts.js";
import { h, setText } from "../dom.js";
import { icon } from "../icons.js";
import { link } from "../router.js";
import { live, tenant } from "../session.js";
import { STATUSES } from "../status.js";
import { number, span } from "../text.js";
import { complain } from "../toast.js";

const MINUTE_MS = 60_000;
const SPANS = [["60", "minutely", MINUTE_MS, "Hour"], ["24", "hourly", 60 * MINUTE_MS, "Day"], ["30", "daily", 24 * 60 * MINUTE_MS, "Month"]];

export function overview(place, _args, query) {
  const view = new Overview(place, query.get("span"));
  return () => view.leave();
}

class Overview {
  constructor(place, wanted) {
    this.span = SPANS.find(([, name]) => name === wanted) || SPANS[0];
    this.points = new Map();
    this.tiles = Object.fromEntries(STATUSES.map((status) => [status, tile(status)]));
    this.throughput = chart({ title: "Throughput", note: "Instances that have ended, by how", shape: "columns", text: (value) => number(Math.round(value * 10) / 10),
      series: [{ name: "completed", kind: "completed", value: (one) => one.completed }, { name: "failed", kind: "failed", value: (one) => one.failed },
        { name: "cancelled", kind: "cancelled", value: (one) => one.cancelled }] });
    this.starts = chart({ title: "Starts", note: "Instances that were created", shape: "columns", text: (value) => number(Math.round(value * 10) / 10),
      series: [{ name: "started", kind: "running", value: (one) => one.started }] });
    this.latency = chart({ title: "How long they take", note: "From the first attempt to the end, rests included", shape: "lines", text: span,
      series: [{ name: "average", kind: "running", value: (one) => one.average_ms }, { name: "longest", kind: "suspended", value: (one) => one.max_ms }] });
    this.now = h("p", { class: "lead number" });
    this.spans = SPANS.map((one) => h("button", { type: "button", class: "chip", "aria-pressed": String(one === this.span), onclick: () => this.#choose(one) }, one[3]));
    place.append(h("div", { class: "head" }, h("h1", {}, "Overview"), h("div", { class: "chips", role: "group", "aria-label": "Span of time" }, this.spans), this.now),
      h("ul", { class: "tiles" }, Object.values(this.tiles).map((one) => one.element)),
      this.throughput.element, h("div", { class: "charts" }, this.starts.element, this.latency.element));
    this.unwatch = live.watch("metrics", { item: (data) => this.#hear(data), again: () => this.#read(), refused: complain });
    this.ticking = setInterval(() => this.#show(), 10_000);
    this.#read();
  }

  leave() {
    this.unwatch();
    clearInterval(this.ticking);
    clearTimeout(this.counting);
    for (const one of [this.throughput, this.starts, this.latency]) one.stop();
  }

  #choose(one) {
    this.span = one;
    this.spans.forEach((button, index) => button.setAttribute("aria-pressed", String(SPANS[index] === one)));
    this.points.clear();
    this.#read();
  }

  async #read() {
    const [count, granularity, length] = this.span;
    const now = Date.now();
    try {
      const found = await get(path("tenants", await tenant(), "metrics"), { from_ms: now - (count - 1) * length, to_ms: now + length, granularity });
      for (const bucket of found.buckets) this.points.set(bucket.at, bucket);
      this.#show();
      this.#showCounts((await get("/instances-by-status")).counts);
      return true;
    } catch (error) {
      complain(error);
      return false;
    }
  }

  #hear(data) {
    if (data.counts) this.#showCounts(data.counts);
    else this.#countSoon();
    this.#showNow(data);
    if (data.at === undefined) return;
    if (this.span[2] === MINUTE_MS) { this.points.set(data.at, data); this.#show(); }
  }

  /** Count again, once for everything that was told within a second. */
  #countSoon() {
    this.counting ??= setTimeout(async () => {
      this.counting = undefined;
      try { this.#showCounts((await get("/instances-by-status")).counts); } catch (error) { complain(error); }
    }, 1000);
  }

  #showNow({ starts, finishes, commit_p50_ms: usual, commit_p99_ms: slow }) {
    if (starts === undefined) return;
    const rate = (value) => number(Math.round(value * 10) / 10);
    const commits = usual === null || usual === undefined ? "" : ` A commit takes ${span(usual)}, one in a hundred ${span(slow)}.`;
    setText(this.now, `Now ${rate(starts)} starts and ${rate(finishes)} ends per second.${commits}`);
  }

  #show() {
    const [count, , length] = this.span;
    const last = Math.floor(Date.now() / length) * length;
    const points = Array.from({ length: Number(count) }, (_, index) => {
      const at = last - (count - 1 - index) * length;
      return this.points.get(at) || { at, started: 0, completed: 0, failed: 0, cancelled: 0, average_ms: null, max_ms: null };
    });
    for (const one of [this.throughput, this.starts, this.latency]) one.show(points);
  }

  #showCounts(counts) {
    for (const status of STATUSES) this.tiles[status].show(counts[status] || 0);
  }
}

function tile(status) {
  const count = h("strong", {}, "–");
  const element = h("li", {}, h("a", { class: "tile", href: link(["instances"], { status }), "data-tile": status },
    h("span", { class: "tile-icon", "data-status": status }, icon(status)), count, h("span", { class: "soft" }, status)));
  return { element, show: (value) => setText(count, number(value)) };
}
