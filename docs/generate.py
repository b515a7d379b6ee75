"""Write docs/reference from the tables in the code; with ``--check``, only say what is out of date.

Owns the pages it writes and nothing else. The tables are the truth: to change a page, change the table.
"""

import ast
import inspect
import itertools
import sys
import typing
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from runtara import endpoints, errors, lifecycle, settings
from runtara.actors import Child, Supervisor
from runtara.clock import SystemClock
from runtara.store import open_store
from runtara.system import tree

__all__ = ["PAGES", "main"]

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- Written by `make docs` from {source}. Change it there. -->"


def main(arguments: list[str]) -> int:
    """Write or check every page; return how many were out of date when checking, else 0."""
    stale = [name for name in PAGES if _read(REFERENCE / name) != _page(name)]
    if "--check" in arguments:
        for name in stale:
            print(f"docs/reference/{name} is out of date: run `make docs`")
        return len(stale)
    REFERENCE.mkdir(exist_ok=True)
    for name in stale:
        (REFERENCE / name).write_text(_page(name), encoding="utf-8")
    print(f"{len(stale)} of {len(PAGES)} pages written")
    return 0


def _page(name: str) -> str:
    return "\n".join(PAGES[name]()) + "\n"


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


# The pages -----------------------------------------------------------------------------------------------------------


def errors_page() -> Iterator[str]:
    """The error table."""
    yield from _head("Errors", "`Code` in runtara/errors.py")
    yield "Every error that leaves the runtime is one of these. Each has a class of its own in `runtara.errors`; an SDK"
    yield "raises the class that the actor raised, whatever lies between them.\n"
    for retry in errors.Retry:
        yield f"- Retry **{retry.value}**: {_inline(_docs_below(errors.Retry)[retry.name])}"
    yield ""
    yield from _table(
        "Code | Class | HTTP | Exit | Retry | Meaning",
        (
            f"`{code.wire}` | `{errors.ERRORS[code].__name__}` | {code.http_status} | {code.exit_code} "
            f"| {code.retry.value} | {_sentence(code.meaning)}"
            for code in errors.Code
        ),
    )


def lifecycle_page() -> Iterator[str]:
    """Statuses, triggers and what becomes of what."""
    statuses, triggers = lifecycle.Status, lifecycle.Trigger
    meanings = _docs_below(statuses)
    yield from _head("Life of an instance", "`TRANSITIONS` in runtara/lifecycle.py")
    yield "```mermaid\nstateDiagram-v2"
    yield f"    [*] --> {statuses.PENDING.value}"
    for status, row in lifecycle.TRANSITIONS.items():
        for target in dict.fromkeys(row.values()):
            labels = ", ".join(trigger.value for trigger, to in row.items() if to is target)
            yield f"    {status.value} --> {target.value}: {labels}"
    for status in statuses:
        if status in lifecycle.FINAL:
            yield f"    {status.value} --> [*]"
    yield "```\n"
    yield "What is not in this table is refused with `invalid-state`.\n"
    yield from _table(
        "Trigger | " + " | ".join(f"from {status.value}" for status in statuses if _leaves(status)),
        (
            f"{trigger.value} | " + " | ".join(_target(status, trigger) for status in statuses if _leaves(status))
            for trigger in triggers
        ),
    )
    yield "\n## Statuses\n"
    for status in statuses:
        end = "" if _leaves(status) else "Final: nothing leaves it."
        yield f"- **{status.value}** {_inline(meanings.get(status.name, ''))}{end}"
    yield "\n## Why an instance is suspended or ended\n"
    yield from (f"- {reason.value}" for reason in lifecycle.TerminationReason)


def settings_page() -> Iterator[str]:
    """Every setting with its variable, default, unit and meaning."""
    yield from _head("Settings", "`Settings` in runtara/settings.py")
    yield "Set them in the environment, or by their name in code. A name that is not known is refused, with the nearest"
    yield "one that is.\n"
    meanings = _docs_below(settings.Settings)
    yield from _table(
        "Variable | Default | Unit | Meaning",
        (
            f"`{field.encode_name}` | {_default(field)} | {_unit(field)} | {_inline(meanings.get(field.name, ''))}"
            for field in msgspec.structs.fields(settings.Settings)
        ),
    )


def operations_page() -> Iterator[str]:
    """Every command with its fields and its reply."""
    rows = list(endpoints.ENDPOINTS.values())
    yield from _head("Operations", "`ENDPOINTS` in runtara/endpoints.py and runtara/messages.py")
    yield from _table(
        "Command | Reply | Asked by | Answered by | Again is harmless",
        (
            f"[{row.command.__name__}](#{row.command.__name__.lower()}) "
            f"| [{row.reply.__name__}](#{row.reply.__name__.lower()}) "
            f"| {'program, manager' if row.caller == 'both' else row.caller} | {row.owner} "
            f"| {'yes' if row.idempotent else 'no'}"
            for row in rows
        ),
    )
    yield "\n## Commands"
    for row in rows:
        yield from _struct(row.command, f"Replied to with [{row.reply.__name__}](#{row.reply.__name__.lower()}).")
    yield "\n## Replies"
    replies = list(dict.fromkeys(row.reply for row in rows))
    for reply in replies:
        yield from _struct(reply)
    yield "\n## Records inside replies"
    for record in _records(replies):
        yield from _struct(record)


def tree_page() -> Iterator[str]:
    """The supervision tree."""
    yield from _head("Supervision tree", "`tree` in runtara/system.py")
    yield "What runs under the root supervisor, in start order; it stops in reverse. `runtara tree` shows it alive.\n"
    store = open_store("sqlite:///runtara.db")  # a description of where the store is; nothing is opened yet
    yield from _table(
        "Actor | Restart | Strategy or mailbox", _branches(tree(settings.Settings(), store, SystemClock(), {}), "")
    )


def _branches(spec: Child | Supervisor, above: str) -> Iterator[str]:
    """Yield a row for a supervisor or an actor, and for all below it."""
    path = f"{above}{spec.name}"
    if isinstance(spec, Child):
        yield f"`{path}` | {spec.restart.value} | {spec.mailbox.bound:,} messages, {spec.mailbox.policy.value}"
        return
    budget = f"more than {spec.intensity.restarts} failures in {spec.intensity.within:g} s escalate"
    yield f"`{path}` | {spec.restart.value} | {spec.strategy.value}; {budget}"
    for child in spec.children:
        yield from _branches(child, f"{path}/")


PAGES: dict[str, Callable[[], Iterable[str]]] = {
    "errors.md": errors_page,
    "lifecycle.md": lifecycle_page,
    "operations.md": operations_page,
    "settings.md": settings_page,
    "tree.md": tree_page,
}
"""File name to what writes it."""


# Parts of a page -----------------------------------------------------------------------------------------------------


def _head(title: str, source: str) -> Iterator[str]:
    yield f"# {title}\n"
    yield NOTE.format(source=source) + "\n"


def _table(head: str, rows: Iterable[str]) -> Iterator[str]:
    yield f"| {head} |"
    yield "|" + "---|" * (head.count("|") + 1)
    yield from (f"| {row} |" for row in rows)


def _struct(struct: type, after: str = "") -> Iterator[str]:
    yield f"\n### {struct.__name__}\n"
    yield " ".join(part for part in (_inline(inspect.getdoc(struct) or ""), after) if part)
    fields, types, meanings = msgspec.structs.fields(struct), _field_types(struct), _docs_below(struct)
    if fields:
        yield ""
        yield from _table(
            "Field | Type | Default | Meaning",
            (
                f"`{field.name}` | {_code(types[field.name])} | {_default(field)} "
                f"| {_inline(meanings.get(field.name, ''))}"
                for field in fields
            ),
        )


def _leaves(status: lifecycle.Status) -> bool:
    return status not in lifecycle.FINAL


def _target(status: lifecycle.Status, trigger: lifecycle.Trigger) -> str:
    target = lifecycle.next_status(status, trigger)
    return target.value if target else ""


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    if field.default_factory is not msgspec.NODEFAULT:
        return _code(repr(field.default_factory()))
    if field.default is None:
        return "none"
    return _code(str(field.default) if isinstance(field.default, str | int) else repr(field.default))


def _unit(field: msgspec.structs.FieldInfo) -> str:
    """The unit that a name ends with, with the default in a larger one where that is easier to read."""
    value = field.default
    if field.name.endswith("_ms"):
        return f"ms ({value / 1000:g} s)"
    if field.name.endswith("_bytes"):
        return f"bytes ({value / 2**20:g} MiB)"
    return ""


def _code(text: str) -> str:
    return "`" + text.replace("|", "\\|") + "`"


def _inline(doc: str) -> str:
    """A docstring on one line of Markdown."""
    return " ".join(doc.split()).replace("``", "`").replace("|", "\\|")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


# What the source says ------------------------------------------------------------------------------------------------


def _records(structs: Iterable[type]) -> list[type]:
    """Structs that occur inside the fields of others, by name."""
    found: dict[str, type] = {}
    waiting = [kind for struct in structs for kind in _inner_structs(struct)]
    while waiting:
        struct = waiting.pop()
        if struct.__name__ not in found:
            found[struct.__name__] = struct
            waiting.extend(_inner_structs(struct))
    return [found[name] for name in sorted(found)]


def _inner_structs(struct: type) -> Iterator[type]:
    waiting = list(typing.get_type_hints(struct).values())
    while waiting:
        kind = waiting.pop()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            yield kind
        waiting.extend(typing.get_args(kind))


def _class_body(cls: type) -> list[ast.stmt]:
    tree = ast.parse(inspect.getsource(cls))
    definition = tree.body[0]
    assert isinstance(definition, ast.ClassDef)
    return definition.body


def _field_types(cls: type) -> dict[str, str]:
    """The annotations of a class as they are written."""
    return {
        node.target.id: ast.unparse(node.annotation)
        for node in _class_body(cls)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


def _docs_below(cls: type) -> dict[str, str]:
    """The docstring below each field of a class, or member of an enumeration."""
    return dict(_pairs(cls))


def _pairs(cls: type) -> Iterator[tuple[str, str]]:
    body = _class_body(cls)
    for node, below in itertools.pairwise(body):
        name = _assigned(node)
        if name and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            yield name, str(below.value.value)


def _assigned(node: ast.stmt) -> str | None:
    target = (
        node.target if isinstance(node, ast.AnnAssign) else node.targets[0] if isinstance(node, ast.Assign) else None
    )
    return target.id if isinstance(target, ast.Name) else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
