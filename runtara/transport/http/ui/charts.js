// Charts over time: stacked columns, and lines. Drawn in SVG; each can be read as a table, too.

import { h, replace, svg } from "./dom.js";
import { clockTime } from "./text.js";

const HEIGHT = 190;
const LEFT = 46;
const BOTTOM = 22;
const TOP = 10;

/** The round number that is not smaller: 1, 2, 5, 10, 20, 50 … */
export function ceiling(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((factor) => factor * power).find((round) => round >= value);
}

/**
 * A chart with a title. `series` are `{name, kind, value(point)}`, `shape` is "columns" (stacked) or "lines"; `text` says a
 * value. `show(points)` draws points that have an instant `at`.
 */
export function chart({ title, note, series, shape, text }) {
  const picture = svg("svg", { class: "chart", height: HEIGHT, role: "img" });
  const frame = h("div", { class: "chart-frame" }, picture);
  const body = h("tbody");
  const id = `chart-${title.toLowerCase().replace(/\W+/g, "-")}`;
  const tip = h("div", { class: "tip", hidden: true });
  frame.append(tip);
  const legend = h("ul", { class: "legend" }, series.map(({ name, kind }) => h("li", {}, h("i", { class: `swatch ${kind}` }), name)));
  const element = h("section", { class: "card", "aria-labelledby": id }, h("div", { class: "card-head" }, h("h2", { id }, title), legend), h("p", { class: "chart-note soft" }, note), frame,
    h("details", { class: "as-table" }, h("summary", {}, "As a table"), h("div", { class: "scroll-x" }, h("table", {},
      h("thead", {}, h("tr", {}, ["When", ...series.map(({ name }) => name)].map((word) => h("th", { scope: "col" }, word)))), body))));
  let points = [];
  const resized = new ResizeObserver(() => draw());
  resized.observe(frame);

  function show(found) {
    points = found;
    draw();
    replace(body, points.slice().reverse().filter((point) => series.some(({ value }) => value(point))).map((point) =>
      h("tr", {}, h("th", { scope: "row" }, clockTime(point.at)), series.map(({ value }) => h("td", { class: "number" }, said(value(point)))))));
  }

  const said = (value) => (value === null || value === undefined ? "–" : text(value));

  function draw() {
    const width = frame.clientWidth;
    if (!width || !points.length) return;
    picture.setAttribute("width", width);
    picture.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const total = (point) => series.reduce((sum, { value }) => sum + (value(point) || 0), 0);
    const highest = Math.max(...points.map((point) => (shape === "columns" ? total(point) : Math.max(...series.map(({ value }) => value(point) || 0)))));
    const top = ceiling(highest);
    const y = (value) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - BOTTOM - TOP);
    const step = (width - LEFT - 10) / points.length;
    const x = (index) => LEFT + index * step;
    picture.setAttribute("aria-label", `${title}: ${summary()}`);
    replace(picture, grid(width, y, top), shape === "columns" ? columns(x, y, step) : lines(x, y, step), times(x, step), hover(x, step));
  }

  function summary() {
    const last = points.findLast((point) => series.some(({ value }) => value(point)));
    return last ? `last at ${clockTime(last.at)}, ` + series.map(({ name, value }) => `${name} ${said(value(last))}`).join(", ") : "nothing yet";
  }

  function grid(width, y, top) {
    return [0, 0.5, 1].map((share) => svg("g", {}, svg("line", { class: "grid", x1: LEFT, x2: width - 8, y1: y(top * share), y2: y(top * share) }),
      svg("text", { x: LEFT - 8, y: y(top * share) + 4, "text-anchor": "end" }, share === 0.5 && top === 1 && text(0.5) === text(1) ? "" : text(top * share))));
  }

  function columns(x, y, step) {
    return points.map((point, index) => {
      let sum = 0;
      return series.map(({ kind, value }) => {
        const count = value(point) || 0;
        if (!count) return null;
        const from = y(sum), to = y(sum + count);
        sum += count;
        return svg("rect", { class: `column ${kind}`, x: x(index) + step * 0.14, width: Math.max(1, step * 0.72), y: to, height: Math.max(1, from - to), rx: Math.min(2, step * 0.2) });
      });
    });
  }

  function lines(x, y, step) {
    return series.map(({ kind, value }) => {
      const known = points.map((point, index) => ({ at: x(index) + step / 2, value: value(point) })).filter((one) => one.value !== null && one.value !== undefined);
      const d = known.map((one, index) => `${index ? "L" : "M"}${one.at.toFixed(1)} ${y(one.value).toFixed(1)}`).join("");
      return svg("g", { class: `line ${kind}` }, svg("path", { d }), known.map((one) => svg("circle", { cx: one.at, cy: y(one.value), r: 2.4 })));
    });
  }

  function times(x, step) {
    const every = Math.max(1, Math.ceil(points.length / 6));
    return points.map((point, index) => (index % every ? null : svg("text", { x: x(index) + step / 2, y: HEIGHT - 5, "text-anchor": "middle" }, clockTime(point.at).slice(0, 5))));
  }

  function hover(x, step) {
    return points.map((point, index) => svg("rect", { class: "hover", x: x(index), width: step, y: 0, height: HEIGHT - BOTTOM,
      onpointerenter: () => explain(point, x(index) + step / 2), onpointerleave: () => { tip.hidden = true; } }));
  }

  function explain(point, at) {
    replace(tip, h("strong", {}, clockTime(point.at).slice(0, 5)), series.map(({ name, kind, value }) => h("p", { class: "tip-line" }, h("i", { class: `swatch ${kind}` }), `${name} `, h("b", {}, said(value(point))))));
    tip.hidden = false;
    tip.style.left = `${Math.max(4, Math.min(at - tip.offsetWidth / 2, frame.clientWidth - tip.offsetWidth - 4))}px`;
    tip.style.top = `${TOP + 4}px`;
  }

  return { element, show, stop: () => resized.disconnect() };
}
