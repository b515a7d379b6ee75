"""The folders of runs: which are old, and how they go."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runtara.actors.runners._run_folder import RunFolder
from runtara.actors.runners.runs import OldRun, Runs
from tests.actors.runners.folders import NOW_MS, ended, key_of, launched

LATER_MS = NOW_MS + 1


def removed(runs: Runs, run: OldRun) -> bool:
    done = runs.put_aside(run)
    runs.clear()
    return done


def test_the_folders_are_listed_in_which_nothing_happened_since(tmp_path: Path) -> None:
    for number in range(4):
        ended(tmp_path, f"i-{number}", NOW_MS + number)

    old = Runs(tmp_path).list_old(NOW_MS + 2)

    assert {run.key for run in old} == {key_of("i-0"), key_of("i-1")}
    assert all(run.path == RunFolder(tmp_path, run.key).path for run in old)


def test_where_nothing_ever_ran_nothing_is_old(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "missing")

    runs.clear()

    assert runs.list_old(LATER_MS) == []


def test_a_folder_goes_with_all_that_is_in_it(tmp_path: Path) -> None:
    folder, other = ended(tmp_path, "one"), ended(tmp_path, "two")
    runs = Runs(tmp_path)

    assert removed(runs, OldRun(folder.path, key_of("one")))

    assert not folder.path.exists()
    assert other.path.exists()
    assert [run.key for run in runs.list_old(LATER_MS)] == [key_of("two")]
    assert not removed(runs, OldRun(folder.path, key_of("one")))


def test_a_folder_stays_while_its_attempt_is_marked_or_its_lock_is_held(tmp_path: Path) -> None:
    folder, runs = launched(tmp_path, "one"), Runs(tmp_path)
    run = OldRun(folder.path, key_of("one"))
    assert not removed(runs, run)

    folder.forget("l")
    with folder.locked() as free:
        assert free
        assert not removed(runs, run)
    assert folder.path.exists()

    assert removed(runs, run)


def test_what_is_launched_in_a_folder_that_went_finds_a_new_one(tmp_path: Path) -> None:
    folder = ended(tmp_path, "one")
    assert removed(Runs(tmp_path), OldRun(folder.path, key_of("one")))

    again = launched(tmp_path, "one")

    assert again.input.read_bytes() == b"input"


def test_what_a_killed_process_has_put_aside_is_cleared_away(tmp_path: Path) -> None:
    folder = ended(tmp_path, "one")
    code = (
        "import os, signal, sys; from pathlib import Path; from runtara.actors.runners.runs import OldRun, Runs;"
        "from runtara.ids import InstanceKey; home = Path(sys.argv[1]);"
        "assert Runs(home).put_aside(OldRun(Path(sys.argv[2]), InstanceKey('acme', 'one')));"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path), str(folder.path)], check=False)
    runs = Runs(tmp_path)
    assert runs.list_old(LATER_MS) == []
    (left,) = tmp_path.glob(".removed-*")
    assert (left / "stdout.0").exists()

    runs.clear()

    assert not left.exists()


def test_folders_of_others_are_not_touched(tmp_path: Path) -> None:
    home = tmp_path / "runs"
    folder = ended(home, "one")
    shutil.copytree(folder.path, home / "abcdef")  # somebody's copy, which still says whose it was
    (home / "deadbeef").mkdir()
    (home / "0123").write_text("")
    for path in home.iterdir():
        os.utime(path, (1, 1))

    assert [run.path for run in Runs(home).list_old(LATER_MS)] == [folder.path]


def test_what_cannot_be_removed_keeps_nothing_else_from_being_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, names = Runs(tmp_path), ["one", "two", "three"]
    for name in names:
        assert runs.put_aside(OldRun(ended(tmp_path, name).path, key_of(name)))
    stubborn = min(tmp_path.glob(".removed-*"))

    def refuse(path: Path) -> None:
        if path == stubborn:
            raise PermissionError("not yours")
        shutil.rmtree(path)

    with monkeypatch.context() as patches:
        patches.setattr("runtara.actors.runners.runs.remove_tree", refuse)
        with pytest.raises(PermissionError):
            runs.clear()
    assert list(tmp_path.glob(".removed-*")) == [stubborn]

    runs.clear()

    assert not stubborn.exists()


def test_a_folder_that_its_program_has_shut_goes_all_the_same(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    code = (
        "import os; from pathlib import Path; from runtara.actors.runners._run_folder import remove_tree\n"
        "if os.geteuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"  # root may look everywhere
        "deep = Path('work', 'a', 'b'); deep.mkdir(parents=True); (deep / 'file').write_text('')\n"
        "for path in (deep, deep.parent, Path('work')): path.chmod(0)\n"
        "remove_tree(Path('work'))\n"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "work").exists()
