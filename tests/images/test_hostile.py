"""Archives that nobody thought of: made by chance of what is dangerous, they never reach outside of their folder."""

import gzip
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from runtara.errors import StoreUnavailable
from runtara.images import Rules, _members, _scratch, _tree
from tests.images import archives
from tests.images.archives import END, entry, long_name, pax
from tests.images.sandbox import Sandbox

T = TypeVar("T")
RULES = [Rules.FOLDER, Rules.ROOTFS, Rules.BUNDLE]

PLAIN = [b"a", b"b", b"c", b"a/b", b"b/c", b"c/a/b", b"./a", b"b/"]
ODD_PARTS = [b"..", b".", b"", b"etc", b"secret", b"inner", b"dev", b"way-out", b"\xff", b"a\0", b"\n", b"a", b"b"]
ESCAPES = [
    b"..",
    b"../..",
    b"../../..",
    b"../secret",
    b"/etc",
    b"/",
    b".",
    b"a/../..",
    b"../inner/way-out",
    b"b/../../c",
]
KINDS = [b"0", b"5", b"2", b"0", b"1", b"2"]
ODD_KINDS = [b"\0", b"3", b"4", b"6", b"7", b"S", b"x", b"g", b"L", b"K", b"z"]
PAX_KEYS = ["path", "linkpath", "size", "GNU__sparse__name", "hdrcharset", "x"]
MODES = [0o644, 0o755, 0o4755, 0o7777, 0o000]


class Choices:
    """Makes choices from bytes, each of which decides one; zeros, and the end, choose what is honest and short."""

    def __init__(self, data: bytes) -> None:
        self._left = list(reversed(data))

    def number(self, below: int) -> int:
        return self._left.pop() % below if self._left else 0

    def among(self, options: Sequence[T]) -> T:
        return options[self.number(len(options))]

    def seldom(self, out_of: int = 12) -> bool:
        return self.number(out_of) == out_of - 1

    def name(self) -> bytes:
        if not self.seldom():
            return self.among(PLAIN)
        parts = [self.among(ODD_PARTS) for _ in range(self.number(5) + 1)]
        return self.among([b"", b"/"]) + b"/".join(parts)

    def target(self) -> bytes:
        return self.among(ESCAPES) if self.seldom(4) else self.name()

    def member(self) -> bytes:
        """One member, mostly one that could be honest, so that archives get far."""
        kind = self.among(ODD_KINDS) if self.seldom(40) else self.among(KINDS)
        name = self.name()
        content = bytes([120] * self.number(20)) if kind in b"0\x007xgLKS" else b""
        size = self.among([0, 1, 512, 2**33 - 1]) if self.seldom(40) else None
        target = self.target() if kind in b"12" else b""
        return self.front() + entry(name, kind, content, target=target, size=size, mode=self.among(MODES))

    def front(self) -> bytes:
        """A header that goes before another one, at times."""
        if self.seldom(16):
            return pax(**{self.among(PAX_KEYS): self.target() for _ in range(self.number(2) + 1)})
        return long_name(self.target(), self.among([b"L", b"K"])) if self.seldom(16) else b""

    def archive(self) -> bytes:
        """An archive, at times with some bytes changed, cut off, or packed."""
        content = b"".join(self.member() for _ in range(self.number(8) + 1)) + END
        at = (self.number(256) * 256 + self.number(256)) % len(content)
        if self.seldom():
            return content[:at] + bytes([self.number(256)]) + content[at + 1 :]
        if self.seldom():
            return content[:at]
        return gzip.compress(content, 1, mtime=0) if self.seldom() else content


whole_archives = st.binary(min_size=1, max_size=120).map(lambda data: Choices(data).archive())


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A watched folder that is used again and again, and not put on stable storage."""
    monkeypatch.setattr(_scratch, "sync_disk", lambda _: None)
    monkeypatch.setattr(_scratch, "sync_folder", lambda _: None)
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Sandbox(Path(folder))


def unpack(sandbox: Sandbox, content: bytes, rules: Rules) -> None:
    accepted = sandbox.unpack(content, rules)
    event(f"{rules.word}: {'accepted' if accepted else 'refused'}")
    sandbox.clear()


again = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@settings(again, max_examples=500)
@given(content=whole_archives, rules=st.sampled_from(RULES))
def test_an_archive_made_by_chance_touches_nothing_outside(sandbox: Sandbox, content: bytes, rules: Rules) -> None:
    unpack(sandbox, content, rules)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@settings(again, max_examples=20_000)
@given(content=whole_archives, rules=st.sampled_from(RULES))
def test_many_archives_made_by_chance_touch_nothing_outside(sandbox: Sandbox, content: bytes, rules: Rules) -> None:
    unpack(sandbox, content, rules)


@settings(again, max_examples=100)
@given(content=st.dictionaries(st.sampled_from(["a", "b/c", "b/d", "e/f/g", "h i", "ö"]), st.binary(max_size=20)))
def test_an_honest_archive_is_unpacked_as_it_is(sandbox: Sandbox, content: dict[str, bytes]) -> None:
    assert sandbox.unpack(archives.plain_tar(content), Rules.FOLDER)
    assert {name: found for name, found in sandbox.content().items() if found is not None} == content
    sandbox.clear()


@pytest.mark.slow
def test_a_bug_in_the_extractor_is_found_by_chance(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tree, "_NO_LINK", 0)
    monkeypatch.setattr(_members.Ledger, "_enter", lambda *_: None)
    monkeypatch.setattr(_members, "check_target", lambda *_: ())

    @settings(again, max_examples=20_000, database=None)
    @given(content=whole_archives, rules=st.just(Rules.ROOTFS))
    def find(content: bytes, rules: Rules) -> None:
        try:
            unpack(sandbox, content, rules)
        except StoreUnavailable:  # it no longer looks before it writes
            sandbox.check(rules, accepted=False)

    with pytest.raises((AssertionError, ExceptionGroup)):
        find()
