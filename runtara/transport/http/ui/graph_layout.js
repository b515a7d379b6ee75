// Where the nodes of a graph lie, from the top to the bottom: branches beside each other, children in a frame. Pure.

const HEIGHT = 46;
const WIDTH_MIN = 132;
const WIDTH_MAX = 280;
const CHAR = 7.1;
const DOWN = 30;
const BESIDE = 26;
const KEY = 18;
const FRAME = 14;
const FRAME_HEAD = 26;

/** `{width, height, boxes, lines, frames}` of nodes; `words(node)` are the lines of text that a box has room for. */
export function layout(nodes, words) {
  return sequence(nodes, words);
}

function sequence(nodes, words) {
  const parts = nodes.map((node) => block(node, words));
  const width = Math.max(WIDTH_MIN, ...parts.map((part) => part.width));
  const whole = { width, height: 0, boxes: [], lines: [], frames: [], entry: null, exits: [] };
  let y = 0;
  for (const part of parts) {
    const placed = moved(part, (width - part.width) / 2, y);
    take(whole, placed);
    for (const exit of whole.exits) whole.lines.push({ from: exit, to: placed.entry, key: exit.key ?? "", state: placed.state });
    whole.entry ??= placed.entry;
    whole.exits = placed.exits;
    whole.height = y + part.height;
    y = whole.height + DOWN;
  }
  return whole;
}

function block(node, words) {
  if (node.kind === "child_workflow") return child(node, words);
  const box = boxOf(node, words);
  if (!node.branches.length) return { ...box, exits: [{ x: box.width / 2, y: HEIGHT }] };
  const branches = node.branches.map((branch) => ({ branch, ...sequence(branch.nodes, words) }));
  const row = branches.reduce((sum, one) => sum + one.width, 0) + BESIDE * (branches.length - 1);
  const width = Math.max(row, box.width);
  const whole = { ...moved(box, (width - box.width) / 2, 0), width, exits: [] };
  const top = HEIGHT + DOWN + KEY;
  const out = { x: width / 2, y: HEIGHT };
  let x = (width - row) / 2;
  for (const one of branches) {
    const placed = moved(one, x, top);
    take(whole, placed);
    whole.lines.push({ from: out, to: placed.entry, key: one.branch.key, state: one.branch.nodes[0]?.state });
    whole.exits.push(...placed.exits);
    x += one.width + BESIDE;
  }
  whole.height = top + Math.max(...branches.map((one) => one.height));
  return whole;
}

function child(node, words) {
  const inner = sequence(node.branches[0].nodes, words);
  const width = Math.max(inner.width, wide(words(node)[0])) + 2 * FRAME;
  const height = inner.height + FRAME_HEAD + FRAME;
  const whole = moved(inner, (width - inner.width) / 2, FRAME_HEAD);
  return { ...whole, width, height, state: node.state, frames: [{ node, x: 0, y: 0, width, height }, ...whole.frames] };
}

function boxOf(node, words) {
  const width = Math.min(WIDTH_MAX, Math.max(WIDTH_MIN, ...words(node).map(wide)));
  return { width, height: HEIGHT, state: node.state, boxes: [{ node, x: 0, y: 0, width, height: HEIGHT }], lines: [], frames: [], entry: { x: width / 2, y: 0 }, exits: [] };
}

const wide = (text) => text.length * CHAR + 44;

/** How many characters a box of that width has room for. */
export const room = (width) => Math.floor((width - 44) / CHAR);

function take(whole, part) {
  whole.boxes.push(...part.boxes);
  whole.lines.push(...part.lines);
  whole.frames.push(...part.frames);
}

function moved(part, dx, dy) {
  const point = (one) => ({ ...one, x: one.x + dx, y: one.y + dy });
  return { ...part, boxes: part.boxes.map(point), frames: part.frames.map(point), entry: point(part.entry), exits: part.exits.map(point),
    lines: part.lines.map((line) => ({ ...line, from: point(line.from), to: point(line.to) })) };
}
