"""What an archive may hold is decided from its headers; test_extract.py sees the same decisions on a disk."""

import pytest

from runtara.errors import InvalidInput, TooLarge
from runtara.images._limits import Account, ExtractLimits
from runtara.images._members import Entry, Ledger, Rules, check_target, place_of, shown
from runtara.images._tar import Member, Type


def ledger(rules: Rules = Rules.LAYER, **limits: int) -> Ledger:
    return Ledger(rules, Account(ExtractLimits(**limits)))


def member(name: bytes, type_: Type = Type.FILE, target: bytes = b"", size: int = 0) -> Member:
    return Member(name=name, type=type_, target=target, size=size)


def test_a_member_becomes_what_is_made_of_it() -> None:
    judge = ledger(Rules.ROOTFS)

    made = [
        judge.admit(member(b"./a//b/", Type.FOLDER)),
        judge.admit(member(b"a/b/c")),
        judge.admit(member(b"l", Type.SYMLINK, b"/a")),
        judge.admit(member(b"h", Type.HARDLINK, b"./a/b/c")),
        judge.admit(member(b".", Type.FOLDER)),
        judge.admit(member(b"dev/null", Type.CHARACTER_DEVICE)),
    ]

    assert made == [
        Entry(place=(b"a", b"b"), type=Type.FOLDER),
        Entry(place=(b"a", b"b", b"c"), type=Type.FILE),
        Entry(place=(b"l",), type=Type.SYMLINK, target=b"/a"),
        Entry(place=(b"h",), type=Type.HARDLINK, origin=(b"a", b"b", b"c")),
        None,
        None,
    ]


def test_all_layers_of_an_image_share_one_account() -> None:
    account = Account(ExtractLimits(members=3))
    for _ in range(3):
        Ledger(Rules.LAYER, account).admit(member(b"a"))

    with pytest.raises(TooLarge, match="3 members"):
        Ledger(Rules.LAYER, account).admit(member(b"a"))


def test_folders_that_are_only_implied_count() -> None:
    with pytest.raises(TooLarge):
        ledger(members=10).admit(member(b"a/" * 20 + b"b"))


@pytest.mark.parametrize("name", [b".wh.a", b"d/.wh.a", b".wh..wh..opq", b"d/.wh..wh..opq", b"./.wh.a", b".wh.a b"])
def test_a_layer_takes_away_what_lies_below(name: bytes) -> None:
    assert ledger().admit(member(name)) is None


@pytest.mark.parametrize(
    "bad",
    [
        member(b".wh."),
        member(b".wh.."),
        member(b".wh..."),
        member(b"d/.wh..."),
        member(b"../.wh.a"),
        member(b"../.wh..wh..opq"),
        member(b"/.wh.a"),
        member(b".wh.a/b"),
        member(b".wh..wh..opq/b"),
        member(b".wh..wh.plnk"),
        member(b".wh..wh..opq", Type.FOLDER),
        member(b".wh.a", Type.SYMLINK, b"b"),
        member(b"a", Type.HARDLINK, b".wh.a"),
        member(b"a", Type.HARDLINK, b"d/.wh..wh..opq"),
    ],
    ids=lambda bad: f"{bad.type.name} {bad.name!r} {bad.target!r}",
)
def test_a_layer_takes_away_nothing_else(bad: Member) -> None:
    with pytest.raises(InvalidInput):
        ledger().admit(bad)


def test_elsewhere_the_mark_of_a_layer_means_nothing() -> None:
    assert ledger(Rules.ROOTFS).admit(member(b".wh..wh..opq")) is not None


def test_nothing_is_taken_away_through_a_link() -> None:
    judge = ledger()
    judge.admit(member(b"l", Type.SYMLINK, b"/etc"))

    with pytest.raises(InvalidInput, match="lies below 'l'"):
        judge.admit(member(b"l/.wh.passwd"))


@pytest.mark.parametrize("name", [b".", b"/", b"./", b"./."])
@pytest.mark.parametrize("type_", [Type.FILE, Type.SYMLINK, Type.HARDLINK])
def test_the_root_of_a_layer_is_not_replaced(name: bytes, type_: Type) -> None:
    with pytest.raises(InvalidInput):
        ledger().admit(member(name, type_, b"etc"))


def test_what_a_layer_has_for_a_system_folder_is_judged_but_not_made() -> None:
    judge = ledger()

    assert judge.admit(member(b"dev/null", Type.CHARACTER_DEVICE)) is None
    assert judge.admit(member(b"dev/pipe", Type.FIFO)) is None
    assert judge.admit(member(b"dev/fd", Type.SYMLINK, b"/proc/self/fd")) is None
    for bad in (
        member(b"dev/out", Type.SYMLINK, b"../.."),
        member(b"dev/fd/x"),
        member(b"null", Type.BLOCK_DEVICE),
        member(b"dev/../../x"),
        member(b"dev/h", Type.HARDLINK, b"/etc/passwd"),
    ):
        with pytest.raises(InvalidInput):
            judge.admit(bad)


@pytest.mark.parametrize(
    ("target", "reached"),
    [
        (b"b", (b"d", b"b")),
        (b"/b", (b"b",)),
        (b"..", ()),
        (b"../b/./c//", (b"b", b"c")),
        (b"/", ()),
        (b"/b/../c", (b"c",)),
    ],
)
def test_a_link_leads_where_its_words_say(target: bytes, reached: tuple[bytes, ...]) -> None:
    assert check_target((b"d", b"l"), target, Account(ExtractLimits())) == reached


@pytest.mark.parametrize("target", [b"", b"../..", b"/..", b"../../d/b", b"b/../../..", b"a\0b", b"a\nb", b"a/" * 2048])
def test_a_link_that_leads_out_or_nowhere_is_refused(target: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"'d/l'|'a"):
        check_target((b"d", b"l"), target, Account(ExtractLimits()))


def test_a_name_is_as_deep_as_allowed() -> None:
    account = Account(ExtractLimits(depth=3))

    assert place_of(b"a/b/c", Rules.FOLDER, account) == (b"a", b"b", b"c")
    with pytest.raises(InvalidInput, match="4 folders deep: at most 3"):
        place_of(b"a/b/c/d", Rules.FOLDER, account)


def test_names_of_any_script_are_allowed() -> None:
    assert place_of("ä/日本/é".encode(), Rules.FOLDER, Account(ExtractLimits()))


def test_a_name_is_shown_without_what_a_terminal_would_obey() -> None:
    assert shown(b"a\x1b[2J\xff") == r"'a\x1b[2J\udcff'"
