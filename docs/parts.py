"""Parts of the pages in docs/reference: headings, tables, and what the source says about classes and their fields."""

import ast
import inspect
import itertools
import typing
from collections.abc import Iterable, Iterator

import msgspec

from runtara.ids import new_id

__all__ = [
    "code_span",
    "default",
    "docs_below",
    "field_types",
    "head",
    "inline",
    "records",
    "sentence",
    "struct_section",
    "table",
    "unit",
]

NOTE = "<!-- Written by `make docs` from {source}. Change it there. -->"


def head(title: str, source: str) -> Iterator[str]:
    """The title of a page, and where its content comes from."""
    yield f"# {title}\n"
    yield NOTE.format(source=source) + "\n"


def table(columns: str, rows: Iterable[str]) -> Iterator[str]:
    """A table; columns and cells are separated by bars."""
    yield f"| {columns} |"
    yield "|" + "---|" * (columns.count("|") + 1)
    yield from (f"| {row} |" for row in rows)


def struct_section(struct: type, after: str = "") -> Iterator[str]:
    """A section on a struct, with a table of its fields."""
    yield f"\n### {struct.__name__}\n"
    yield " ".join(part for part in (inline(inspect.getdoc(struct) or ""), after) if part)
    fields, types, meanings = msgspec.structs.fields(struct), field_types(struct), docs_below(struct)
    if fields:
        yield ""
        yield from table(
            "Field | Type | Default | Meaning",
            (
                f"`{field.name}` | {code_span(types[field.name])} | {default(field)} "
                f"| {inline(meanings.get(field.name, ''))}"
                for field in fields
            ),
        )


def default(field: msgspec.structs.FieldInfo) -> str:
    """The default of a field, or that it has none."""
    if field.required:
        return "required"
    if field.default_factory is not msgspec.NODEFAULT:
        return "a new one" if field.default_factory is new_id else code_span(_said(field.default_factory()))
    if field.default is None:
        return "none"
    if field.default == (Exception,):
        return code_span("(Exception,)")
    return code_span(str(field.default) if isinstance(field.default, str | int) else _said(field.default))


def _said(value: object) -> str:
    """A value as code has it; one that says nothing of itself but where it lies by its class."""
    return f"{type(value).__name__}()" if type(value).__repr__ is object.__repr__ else repr(value)


def unit(field: msgspec.structs.FieldInfo) -> str:
    """The unit that a name ends with, with the default in a larger one where that is easier to read."""
    value = field.default
    if field.name.endswith("_ms"):
        return f"ms ({value / 1000:g} s)"
    if field.name.endswith("_bytes"):
        return f"bytes ({value / 2**20:g} MiB)"
    return ""


def code_span(text: str) -> str:
    """Code inside a table."""
    return "`" + text.replace("|", "\\|") + "`"


def inline(doc: str) -> str:
    """A docstring on one line of Markdown."""
    return " ".join(doc.split()).replace("``", "`").replace("|", "\\|")


def sentence(text: str) -> str:
    """A meaning as a sentence."""
    return text[:1].upper() + text[1:] + "."


# What the source says ------------------------------------------------------------------------------------------------


def records(structs: Iterable[type]) -> list[type]:
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


def field_types(cls: type) -> dict[str, str]:
    """The annotations of a class as they are written."""
    return {
        node.target.id: ast.unparse(node.annotation)
        for kind in _ours(cls)
        for node in _class_body(kind)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


def docs_below(cls: type) -> dict[str, str]:
    """The docstring below each field of a class, or member of an enumeration."""
    return {name: text for kind in _ours(cls) for name, text in _pairs(kind)}


def _ours(cls: type) -> list[type]:
    """The class and what it is made from, as far as it is ours; the oldest first."""
    return [kind for kind in reversed(cls.__mro__) if kind.__module__.split(".")[0] == "runtara"]


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
