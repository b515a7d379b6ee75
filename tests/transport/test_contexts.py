"""The file of servers that a person works with."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runtara.errors import ConfigError, InvalidInput, NotFound
from runtara.transport.contexts import Context, Contexts

PROD = Context(name="prod", server="prod:8001", tenant="shop", fingerprint="ab" * 32, key="rtk_secret")
TEST = Context(name="test", server="test:8001")


@pytest.fixture
def contexts(tmp_path: Path) -> Contexts:
    return Contexts(tmp_path / "config" / "runtara")


def test_there_is_none_before_one_is_put(contexts: Contexts, tmp_path: Path) -> None:
    assert (contexts.list(), contexts.current()) == ((), None)
    assert list(tmp_path.iterdir()) == []


def test_what_is_put_is_in_use_and_found_by_its_name(contexts: Contexts) -> None:
    contexts.put(TEST)
    contexts.put(PROD)

    assert contexts.list() == (PROD, TEST)
    assert (contexts.current(), contexts.get("test")) == (PROD, TEST)

    contexts.put(Context(name="prod", server="other:8001"))
    assert [context.server for context in contexts.list()] == ["other:8001", "test:8001"]


def test_another_one_or_none_can_be_in_use(contexts: Contexts) -> None:
    contexts.put(PROD)
    contexts.put(TEST)

    contexts.use("prod")
    assert contexts.current() == PROD
    contexts.use(None)
    assert contexts.current() is None
    with pytest.raises(NotFound, match="there is no context 'nowhere', of those there are prod, test"):
        contexts.use("nowhere")


def test_what_is_removed_is_gone_with_its_key(contexts: Contexts, tmp_path: Path) -> None:
    contexts.put(PROD)
    contexts.put(TEST)

    contexts.remove("prod")
    assert (contexts.list(), contexts.current()) == ((TEST,), TEST)
    contexts.remove("test")
    assert (contexts.list(), contexts.current()) == ((), None)
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"rtk_" not in path.read_bytes()
    with pytest.raises(NotFound):
        contexts.remove("test")


def test_a_key_can_be_forgotten_without_the_rest(contexts: Contexts) -> None:
    contexts.put(PROD)

    assert [contexts.forget_key("prod"), contexts.forget_key("prod")] == [True, False]
    assert contexts.current() == Context(name="prod", server="prod:8001", tenant="shop", fingerprint="ab" * 32)


def test_nobody_else_can_read_it(contexts: Contexts, tmp_path: Path) -> None:
    contexts.put(PROD)
    path = tmp_path / "config" / "runtara" / "contexts.json"

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="may be read by others"):
        contexts.list()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"contexts":[{}]}', b'{"colour":"red"}', b"\xff"])
def test_a_file_that_is_none_is_refused_and_left_alone(content: bytes, contexts: Contexts, tmp_path: Path) -> None:
    contexts.put(PROD)
    path = tmp_path / "config" / "runtara" / "contexts.json"
    path.write_bytes(content)

    for act in (contexts.list, contexts.current, lambda: contexts.put(TEST), lambda: contexts.remove("prod")):
        with pytest.raises(ConfigError, match="no file of contexts"):
            act()
    assert path.read_bytes() == content


def test_a_name_is_a_plain_one(contexts: Contexts) -> None:
    for name in ("", "a b", "../../x"):
        with pytest.raises(InvalidInput, match="context name"):
            contexts.put(Context(name=name, server="a:1"))


def test_where_nothing_can_be_written_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match="cannot be changed"):
        Contexts(tmp_path / "file").put(PROD)


def test_several_at_once_lose_nothing(contexts: Contexts) -> None:
    names = [f"c{number:02}" for number in range(20)]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: contexts.put(Context(name=name, server="a:1")), names))

    assert [context.name for context in contexts.list()] == names


def test_no_key_is_shown_by_mistake() -> None:
    assert "rtk_" not in repr(PROD)
    assert "rtk_" not in f"{PROD} {(PROD,)}"
