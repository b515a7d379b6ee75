// The graph of a workflow and how its nodes stand in an instance. Pure functions of what was read; no elements here.
//
// runtara/sdk/flow/_states.py decides the same for the command line; one table of cases holds both to it.

const PREFIX = "flow::";
const NODES_MAX = 10_000; // as many as `Flow.build` allows
const DEPTH_MAX = 64;
const KINDS = new Set(["task", "fork", "delay", "await_signal", "branch", "loop", "child_workflow"]);

/** The checkpoint that says what was begun. */
export const BEGIN = "flow:begin";
export const checkpointOf = (place) => PREFIX + place;

/** `{workflow, codec, nodes}` out of the text that an instance keeps of its beginning; null for what is none. */
export function beginning(text) {
  try {
    const said = JSON.parse(text);
    const budget = { left: NODES_MAX };
    return { workflow: String(said.workflow), codec: String(said.codec), nodes: said.graph.map((node) => nodeOf(node, "", budget, 1)) };
  } catch {
    return null;
  }
}

function nodeOf(kept, where, budget, depth) {
  if (--budget.left < 0 || depth > DEPTH_MAX) throw new Error("this is too large to be drawn");
  const full = (kept.branches ?? []).filter((one) => one.nodes?.length); // as all are that `Flow.build` has checked
  const kind = KINDS.has(kept.kind) && (kept.kind !== "child_workflow" || full.length) ? kept.kind : "task";
  const id = String(kept.id);
  const inner = kind === "child_workflow" ? `${where}${id}/` : where;
  return {
    id, kind, place: where + id, label: String(kept.title || id), detail: String(kept.detail ?? ""), signalName: String(kept.signal_name ?? ""),
    maxIterations: Number(kept.max_iterations) || 0, failsAtMax: kept.fails_at_max === true,
    branches: full.map((one) => ({ key: String(one.key ?? ""), isDefault: one.is_default === true,
      nodes: one.nodes.map((node) => nodeOf(node, inner, budget, depth + 1)) })),
  };
}

/** Every node, each before what is inside it and behind it. */
export function* everyNode(nodes) {
  for (const node of nodes) {
    yield node;
    for (const branch of node.branches) yield* everyNode(branch.nodes);
  }
}

/** The places of which must be known what came of them, not only that something did. */
export function peeks(nodes, steps) {
  const results = new Results(steps);
  const all = [...everyNode(nodes)];
  const routes = all.filter((node) => node.kind === "branch").map(keyPlace);
  const loops = all.filter((node) => node.kind === "loop").map((node) => `${node.place}#${results.iterations(node)}`);
  return [...routes, ...loops].filter((place) => results.kept.has(place));
}

/** What a peek says: the mark of a loop's iteration, or a route's key as Python writes it; null for one that cannot be read. */
export function wordOf(place, text, codec) {
  if (!place.endsWith("::key_fn")) return text.slice(0, 1);
  if (codec !== "json") return null;
  try {
    const value = JSON.parse(text);
    if (typeof value === "string") return value;
    if (value === null) return "None";
    return typeof value === "boolean" ? (value ? "True" : "False") : text.trim();
  } catch {
    return null;
  }
}

/** Nodes that say how they stand: `{status, now, steps, states, failure}` is what is known of the instance. */
export function withStates(nodes, facts) {
  return new Reading(facts).sequence(nodes, true).nodes;
}

const lists = { sleep: "sleeps", signal: "waits", retry: "tries" };

class Results {
  constructor(steps) {
    this.kept = new Set();
    this.sleeps = new Map();
    this.waits = new Map();
    this.tries = new Map();
    for (const step of steps) {
      if (!step.step_id.startsWith(PREFIX)) continue;
      const place = step.step_id.slice(PREFIX.length);
      if (step.type === "checkpoint") this.kept.add(place);
      else if (step.type in lists) this[lists[step.type]].set(place, step);
    }
  }

  iterations(node) {
    let count = 0;
    while (this.kept.has(`${node.place}#${count + 1}`)) count++;
    return count;
  }
}

const keyPlace = (node) => `${node.place}::key_fn`;
const NEXT = { pending: "due", running: "running", suspended: "due", completed: "done", cancelled: "stopped" };
const FIRST = ["failed", "running", "due", "awaiting_signal", "waiting", "stopped", "done"];

class Reading {
  constructor(facts) {
    this.facts = facts;
    this.results = new Results(facts.steps);
    this.failedAt = facts.failure?.task_id ?? "";
  }

  sequence(nodes, reached) {
    const read = [];
    for (const node of nodes) {
      read.push(reached ? this.#node(node) : all(node, "not_reached"));
      reached = read[read.length - 1].state === "done";
    }
    return { nodes: read, isOver: reached };
  }

  #node(node) {
    switch (node.kind) {
      case "loop": return this.#loop(node);
      case "delay": return this.#delay(node);
      case "await_signal": return this.#signal(node);
      case "branch": return this.#route(node);
      case "fork": case "child_workflow": return this.#withInner(node, node.branches);
      default: return this.results.kept.has(node.place) ? { ...node, state: "done" } : this.#next(node, node.place);
    }
  }

  #loop(node) {
    const over = this.results.iterations(node);
    const last = `${node.place}#${over}`;
    if (this.facts.status === "completed" || (over && this.facts.states[last] === "-")) return { ...node, state: "done", iteration: over };
    if (over < node.maxIterations) return { ...this.#next(node, `${node.place}#${over + 1}`), iteration: over + 1 };
    return { ...(node.failsAtMax ? this.#next(node, last) : { ...node, state: "done" }), iteration: over };
  }

  #delay(node) {
    const sleep = this.results.sleeps.get(node.place);
    if (!sleep?.wake_at) return this.#next(node, node.place);
    if (sleep.wake_at <= this.facts.now || this.facts.status === "completed") return { ...node, state: "done" };
    return this.#resting(node, "waiting", sleep.wake_at);
  }

  #signal(node) {
    const wait = this.results.waits.get(node.place);
    if (this.facts.status === "completed" || (wait && (wait.completed_at ?? null) !== null)) return { ...node, state: "done" };
    return this.#resting(node, "awaiting_signal", wait?.wake_at ?? null);
  }

  #route(node) {
    const place = keyPlace(node);
    const taken = this.results.kept.has(place) ? this.#taken(node, place) : null;
    if (!taken) return { ...this.#next(node, place), branches: node.branches.map((one) => every(one, "not_reached")) };
    const read = this.#withInner(node, [taken]);
    return { ...read, branches: node.branches.map((one) => (one === taken ? read.branches[0] : every(one, "skipped"))) };
  }

  #taken(node, place) {
    const key = this.facts.states[place];
    if (key !== undefined && key !== null) {
      return node.branches.find((one) => one.key === key && !one.isDefault) ?? node.branches.find((one) => one.isDefault) ?? null;
    }
    return node.branches.find((one) => one.nodes.length && (this.results.kept.has(one.nodes[0].place) || this.results.tries.has(one.nodes[0].place))) ?? null;
  }

  #withInner(node, branches) {
    const read = branches.map((branch) => this.sequence(branch.nodes, true));
    const inner = branches.map((branch, i) => ({ ...branch, nodes: read[i].nodes }));
    const found = new Set(inner.flatMap((branch) => branch.nodes.map((one) => one.state)));
    const state = read.every((one) => one.isOver) ? "done" : FIRST.find((one) => found.has(one));
    return { ...node, state, branches: inner };
  }

  #next(node, place) {
    const failed = this.facts.status === "failed";
    const state = failed ? ([place, node.place, ""].includes(this.failedAt) ? "failed" : "stopped") : NEXT[this.facts.status];
    const error = state === "failed" ? this.facts.failure?.message ?? "" : "";
    const last = this.results.tries.get(place);
    if (!last) return { ...node, state, error };
    const tried = { ...node, state, failedTries: last.attempt || 0, error: error || last.error || "" };
    const again = (state === "running" || state === "due") && (last.wake_at || 0) > this.facts.now;
    return again ? { ...tried, state: "waiting", wakeAt: last.wake_at } : tried;
  }

  #resting(node, state, wakeAt) {
    return this.facts.status === "failed" || this.facts.status === "cancelled" ? { ...node, state: "stopped" } : { ...node, state, wakeAt };
  }
}

const all = (node, state) => ({ ...node, state, branches: node.branches.map((one) => every(one, state)) });
const every = (branch, state) => ({ ...branch, nodes: branch.nodes.map((node) => all(node, state)) });
