"""The documentation is true: its examples run, its links lead somewhere, its tables are those of the code.

A fenced ``python`` block is a program, run in an empty folder. A fenced ``text`` block right below it is what it must
print (``...`` stands for anything). ``<!-- continues -->`` on the line above a block joins it to the block before;
``<!-- not run: reason -->`` leaves it out. A fenced ``console`` block is a session (see `transcript`).
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.house.source import ROOT, run_python, squash
from tests.house.transcript import play

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
_FENCE = re.compile(
    r"(?m)^(?:<!-- (?P<mark>continues|not run: [^\n]+?) -->\n)?"
    r"```python\n(?P<code>.*?)^```$"
    r"(?:\n+```text\n(?P<output>.*?)^```$)?",
    re.DOTALL,
)
_LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\((?P<target>[^)\s]+)\)")


class Program(NamedTuple):
    """What one or several joined blocks of a page do, and what they say that they print."""

    page: Path
    line: int
    code: str
    output: str

    @property
    def name(self) -> str:
        """Where it is, for people."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def programs(page: Path) -> Iterator[Program]:
    """The programs of a page, in order."""
    text = page.read_text(encoding="utf-8")
    program: Program | None = None
    for block in _FENCE.finditer(text):
        mark, code, output = block["mark"] or "", block["code"], block["output"] or ""
        if mark.startswith("not run"):
            continue
        if mark == "continues" and program:
            program = program._replace(code=program.code + code, output=program.output + output)
            continue
        if program:
            yield program
        program = Program(page, text.count("\n", 0, block.start()) + 1, code, output)
    if program:
        yield program


def broken_links(page: Path) -> list[str]:
    """Relative links of a page that lead to no file."""
    targets = [found["target"] for found in _LINK.finditer(page.read_text(encoding="utf-8"))]
    local = [target.split("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)]
    return [target for target in local if not (page.parent / target).exists()]


@pytest.mark.parametrize("program", [found for page in PAGES for found in programs(page)], ids=lambda found: found.name)
def test_a_documented_program_prints_what_the_page_says(program: Program, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(program.code, encoding="utf-8")

    done = run_python("program.py", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert not program.output or squash(program.output).fullmatch(done.stdout.strip()), f"it printed:\n{done.stdout}"


SESSIONS = [
    pytest.param(found[1], id=f"{page.relative_to(ROOT)}:{number}")
    for page in PAGES
    for number, found in enumerate(re.finditer(r"(?ms)^```console\n(.*?)^```$", page.read_text(encoding="utf-8")), 1)
]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("session", SESSIONS)
def test_a_documented_session_goes_as_the_page_says(session: str, tmp_path: Path) -> None:
    play(session, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_page_is_in_the_index(page: Path) -> None:
    index = ROOT / "docs" / "README.md"

    assert page == index or f"]({page.relative_to(index.parent).as_posix()})" in index.read_text(encoding="utf-8")


def test_the_reference_is_what_the_tables_say() -> None:
    done = run_python("docs/generate.py", "--check", cwd=ROOT)

    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


def test_every_dependency_is_explained() -> None:
    explained = (ROOT / "docs" / "explanation" / "dependencies.md").read_text(encoding="utf-8")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    names = set(re.findall(r'"([a-z][\w-]*)(?:\[\w+\])?(?:>=|==)[^"]*"', project))

    assert [name for name in sorted(names) if f"**{name}**" not in explained] == []
