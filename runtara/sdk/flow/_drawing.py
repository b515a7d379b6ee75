"""A graph as a drawing: a Mermaid flowchart, or lines of text. Pure; owns every word that is drawn.

What users have named is only ever text: in Mermaid, every character that could mean something is written as its number.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from runtara.sdk.flow.graph import Graph, GraphBranch, GraphNode, NodeState

__all__ = ["mermaid", "text"]


# Mermaid --------------------------------------------------------------------------------------------------------------


def mermaid(graph: Graph) -> str:
    """Return a graph as a Mermaid flowchart."""
    chart = _Chart()
    title = "<br>".join(_escaped(words) for words in (graph.workflow, _hidden(graph)) if words)
    chart.add("n0", f'(["{title}"])', None)
    ends = chart.sequence(graph.nodes, [_End("n0", "")])
    chart.add("finish", '(["end"])', None)
    chart.link(ends, "finish")
    lines = [f"    {line}" for line in chart.lines + _styles(chart.states)]
    return "\n".join(["flowchart TD", *lines, ""])


class _End(NamedTuple):
    """Where an arrow to the next node begins, and what is written on it."""

    name: str
    label: str


class _Chart:
    """The lines of a chart, as they are written node by node. Names are numbers: ids may hold anything."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.states: dict[str, list[str]] = {}
        self._count = 0

    def sequence(self, nodes: tuple[GraphNode, ...], ends: list[_End]) -> list[_End]:
        """Write a sequence behind these ends; return its own."""
        for node in nodes:
            ends = self._child(node, ends) if _is_frame(node) else self._node(node, ends)
        return ends

    def add(self, name: str, shape: str, state: NodeState | None) -> None:
        """Write a node."""
        self.lines.append(f"{name}{shape}")
        if state is not None:
            self.states.setdefault(state, []).append(name)

    def link(self, ends: list[_End], name: str) -> None:
        """Write the arrows to a node."""
        for end in ends:
            label = f'|"{_escaped(end.label)}"|' if end.label else ""
            self.lines.append(f"{end.name} -->{label} {name}")

    def _name(self) -> str:
        self._count += 1
        return f"n{self._count}"

    def _node(self, node: GraphNode, ends: list[_End]) -> list[_End]:
        name = self._name()
        left, right = _SHAPES.get(node.kind, _SHAPES["task"])
        self.add(name, f'{left}"{"<br>".join(map(_escaped, words_of(node)))}"{right}', node.state)
        self.link(ends, name)
        if node.kind == "loop":
            self.link([_End(name, "again")], name)
        if not node.branches:
            return [_End(name, "")]
        return [end for branch in node.branches for end in self.sequence(branch.nodes, [_End(name, branch.key)])]

    def _child(self, node: GraphNode, ends: list[_End]) -> list[_End]:
        name = self._name()
        self.lines.append(f'subgraph {name}["{_escaped(" · ".join(words_of(node)))}"]')
        inner = len(self.lines)
        ends = self.sequence(node.branches[0].nodes, ends)
        self.lines[inner:] = [f"    {line}" for line in self.lines[inner:]]
        self.lines.append("end")
        return ends


def _is_frame(node: GraphNode) -> bool:
    return node.kind == "child_workflow" and bool(node.branches)


_SHAPES: Final = {
    "task": ("[", "]"),
    "fork": ("[[", "]]"),
    "delay": ("([", "])"),
    "await_signal": ("{{", "}}"),
    "branch": ("{", "}"),
    "loop": ("[/", "/]"),
}

_PLAIN: Final = frozenset(" _-.,/()·")


def _escaped(words: str) -> str:
    return "".join(char if char.isalnum() or char in _PLAIN else f"#{ord(char)};" for char in words)


_COLOURS: Final[dict[NodeState, str]] = {
    "done": "fill:#d7f0dd,stroke:#1a7f37,color:#0b3d1a",
    "running": "fill:#d9e8ff,stroke:#0a58ca,color:#052c65,stroke-width:3px",
    "waiting": "fill:#fff3cd,stroke:#997404,color:#523e02",
    "awaiting_signal": "fill:#ffe5d0,stroke:#ca6510,color:#653208",
    "due": "fill:#e2e3ff,stroke:#5a4fcf,color:#2a2170",
    "failed": "fill:#f8d7da,stroke:#b02a37,color:#58151c,stroke-width:3px",
    "stopped": "fill:#e2e3e5,stroke:#565e64,color:#2b2f32",
    "skipped": "fill:#ffffff,stroke:#adb5bd,color:#6c757d,stroke-dasharray:4 3",
    "not_reached": "fill:#ffffff,stroke:#6c757d,color:#343a40",
}


def _styles(states: dict[str, list[str]]) -> list[str]:
    """Return the lines that colour nodes, for those states that there are."""
    used = [(state, look, states[state]) for state, look in _COLOURS.items() if state in states]
    looks = [f"classDef {state} {look}" for state, look, _ in used]
    return looks + [f"class {','.join(names)} {state}" for state, _, names in used]


# Text -----------------------------------------------------------------------------------------------------------------


def text(graph: Graph) -> str:
    """Return a graph as lines of text. What is not printable is spelled out."""
    head = graph.workflow if graph.status is None else f"{graph.workflow}: {graph.status.replace('_', ' ')}"
    if graph.hidden:
        head += f" · {_hidden(graph)}"
    lines = [head, *(f"  {line}" for line in _lines(graph.nodes))]
    return "".join(f"{_printable(line)}\n" for line in lines)


def _hidden(graph: Graph) -> str:
    return f"{graph.hidden:,} nodes are not drawn one by one" if graph.hidden else ""


def _lines(nodes: tuple[GraphNode, ...]) -> Iterator[str]:
    for node in nodes:
        mark = "-" if node.state is None else MARKS[node.state]
        yield f"{mark} {' · '.join(words_of(node))}"
        for branch in node.branches:
            yield from (f"    {line}" for line in _branch_lines(branch))


def _branch_lines(branch: GraphBranch) -> Iterator[str]:
    """Return the lines of a branch; the name of one that is a single node of that name is not said twice."""
    alone = len(branch.nodes) == 1 and branch.nodes[0].id == branch.key
    if not branch.key or alone:
        yield from _lines(branch.nodes)
        return
    yield f"{branch.key}:"
    yield from (f"  {line}" for line in _lines(branch.nodes))


MARKS: Final[dict[NodeState, str]] = {
    "not_reached": "·",
    "due": "○",
    "running": "▶",
    "waiting": "◷",
    "awaiting_signal": "✉",
    "done": "✓",
    "failed": "✗",
    "stopped": "■",
    "skipped": "–",
}


def words_of(node: GraphNode) -> list[str]:
    """Return what is to be said of a node: its name, what it is, and how it stands."""
    kind = _KINDS.get(node.kind, "")
    words = [node.label, kind if kind != node.label else "", node.detail]
    if node.state is not None:
        words += [_standing(node), *_troubles(node)]
    return [word for word in words if word]


_KINDS: Final = {"branch": "route", "loop": "loop", "delay": "delay"}


def _standing(node: GraphNode) -> str:
    state = str(node.state).replace("_", " ")
    if node.iteration and node.state == "done":
        state += f" after {node.iteration} {'iteration' if node.iteration == 1 else 'iterations'}"
    elif node.iteration:
        state += f", iteration {node.iteration}"
    if node.wake_at is None:
        return state
    return f"{state} until {node.wake_at:%Y-%m-%d %H:%M:%S}Z"


def _troubles(node: GraphNode) -> Iterator[str]:
    if node.failed_tries:
        yield f"{node.failed_tries} failed {'try' if node.failed_tries == 1 else 'tries'}"
    if node.error:
        yield node.error[:200]


def _printable(line: str) -> str:
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)
