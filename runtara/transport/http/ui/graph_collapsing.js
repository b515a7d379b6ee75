// A graph that is too large to be drawn, made small enough: what stands alike is told once, with how much it is. Pure.
//
// runtara/sdk/flow/_collapsing.py does the same for the command line; one test holds both to it.

const KEPT = 3;
const DEPTH = 8;
const QUIET = new Set([undefined, "done", "not_reached", "skipped", "stopped"]);
const MORE = "…";

/** `{nodes, hidden}`: nodes that are at most so many, or few more, and how many are not among them. */
export function collapsed(nodes, most) {
  const whole = count(nodes);
  if (whole <= most) return { nodes, hidden: 0 };
  let small = shortened(nodes);
  for (let depth = DEPTH - 1; count(small) > most && depth >= 0; depth--) small = cut(small, depth);
  return { nodes: small, hidden: whole - every(small).filter((node) => node.id !== MORE).length };
}

function shortened(nodes) {
  const inside = nodes.map((node) => ({ ...node, branches: fewer(node.branches) }));
  return runs(nodes, (node) => node.state, QUIET).flatMap(({ first, last, key, together }) => (together
    ? [...inside.slice(first, first + KEPT), more(nodes.slice(first + KEPT, last - KEPT), key), ...inside.slice(last - KEPT, last)]
    : inside.slice(first, last)));
}

function fewer(branches) {
  const inside = branches.map((branch) => ({ ...branch, nodes: shortened(branch.nodes) }));
  return runs(branches, (branch) => branch.nodes.map((node) => node.state).join()).flatMap(({ first, last, together }) => (together
    ? [...inside.slice(first, first + KEPT), moreBranches(branches.slice(first + KEPT, last - KEPT)), ...inside.slice(last - KEPT, last)]
    : inside.slice(first, last)));
}

/** Runs of what stands alike: from where to where, and whether the middle of it may be told together. */
function runs(all, keyOf, quiet) {
  const found = [];
  all.forEach((one, index) => {
    const key = keyOf(one);
    if (found.length && found.at(-1).key === key) found.at(-1).last = index + 1;
    else found.push({ key, first: index, last: index + 1 });
  });
  return found.map((run) => ({ ...run, together: run.last - run.first > 2 * KEPT + 1 && (!quiet || quiet.has(run.key)) }));
}

function more(nodes, state) {
  return told(`${MORE} ${count(nodes).toLocaleString("en")} more nodes`, state);
}

function moreBranches(branches) {
  const states = branches[0].nodes.map((node) => node.state);
  const all = branches.reduce((sum, branch) => sum + count(branch.nodes), 0);
  const words = `${MORE} ${all.toLocaleString("en")} nodes of ${branches.length.toLocaleString("en")} more branches`;
  return { key: MORE, isDefault: false, nodes: [told(words, states.find((state) => state !== "done") ?? "done")] };
}

function told(label, state) {
  return { id: MORE, kind: "task", place: "", label, detail: "", signalName: "", maxIterations: 0, failsAtMax: false, branches: [], state };
}

function cut(nodes, depth) {
  return nodes.map((node) => (depth ? { ...node, branches: node.branches.map((branch) => ({ ...branch, nodes: cut(branch.nodes, depth - 1) })) } : closed(node)));
}

function closed(node) {
  if (!node.branches.length) return node;
  const inside = node.branches.reduce((sum, branch) => sum + count(branch.nodes), 0);
  return { ...node, branches: [], kind: "task", detail: [node.detail, `${inside.toLocaleString("en")} nodes inside`].filter(Boolean).join(" · ") };
}

const count = (nodes) => every(nodes).length;

function every(nodes) {
  const found = [...nodes];
  for (const node of found) for (const branch of node.branches) found.push(...branch.nodes);
  return found;
}
