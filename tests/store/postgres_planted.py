"""Bugs to plant into the PostgreSQL store, each with the check that must notice it (see `postgres_checks.py`)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg
import pytest

from runtara.store import _postgres_writer
from runtara.store._postgres_batch import rounds_of
from runtara.store._postgres_door import SQL, Connection, Error, Fault, connect, explain
from runtara.store._postgres_writer import PostgresWriter
from tests.store import postgres_checks as checks

__all__ = ["PLANTED", "Planted", "planting"]

Patch = Callable[[pytest.MonkeyPatch], None]


class Planted(NamedTuple):
    """A bug, the promise that it breaks, and who notices."""

    breaks: str
    check: Callable[[checks.Bench], None]
    patch: Patch


@contextmanager
def planting(bug: Planted) -> Iterator[None]:
    """Break this process for the length of the block."""
    with pytest.MonkeyPatch.context() as patches:
        bug.patch(patches)
        yield


def _edit(statement: str, right: str, wrong: str) -> Patch:
    """Change a statement of the store."""

    def patch(patches: pytest.MonkeyPatch) -> None:
        assert right in SQL[statement], f"{statement} does not say {right!r} any more"
        patches.setitem(SQL, statement, SQL[statement].replace(right, wrong))

    return patch


def _acknowledged_before_it_is_stored(patches: pytest.MonkeyPatch) -> None:
    right = PostgresWriter._store

    def store(self: PostgresWriter, connection: Any, rounds: Any) -> Sequence[int]:
        try:
            return right(self, connection, rounds)
        except Error:
            self._hang_up()
            return ()

    patches.setattr(PostgresWriter, "_store", store)


def _lost_commit_sent_again(patches: pytest.MonkeyPatch) -> None:
    right = PostgresWriter.commit

    def failed(self: PostgresWriter, error: Error) -> Sequence[int]:
        self._hang_up()
        self._connection = connect(self._url, self._limits)
        return self._store(self._connection, self.__dict__["rounds"])

    def commit(self: PostgresWriter, saves: Any) -> list[bool]:
        self.__dict__["rounds"] = list(rounds_of(saves))
        return right(self, saves)

    patches.setattr(PostgresWriter, "commit", commit)
    patches.setattr(PostgresWriter, "_failed", failed)


def _lost_commit_taken_for_refused(patches: pytest.MonkeyPatch) -> None:
    def failed(self: PostgresWriter, error: Error) -> Sequence[int]:
        self._hang_up()
        raise explain(error, self._url) from error

    patches.setattr(PostgresWriter, "_failed", failed)


def _lost_node_not_asked(patches: pytest.MonkeyPatch) -> None:
    right = PostgresWriter._fenced

    def fenced(self: PostgresWriter, connection: Any) -> Any:
        error = right(self, connection)
        self._last = (0, None)
        return error

    patches.setattr(PostgresWriter, "_fenced", fenced)


def _refusals_ignored(patches: pytest.MonkeyPatch) -> None:
    patches.setattr(_postgres_writer, "_results", lambda count, refused: [True] * count)


def _refusals_of_a_lost_answer_ignored(patches: pytest.MonkeyPatch) -> None:
    right = PostgresWriter._settle
    patches.setattr(PostgresWriter, "_settle", lambda self: (right(self)[0], None))


def _rounds_each_for_itself(patches: pytest.MonkeyPatch) -> None:
    def several(self: PostgresWriter, connection: Any, rounds: Any) -> Any:
        rows = [connection.execute(SQL["commit_round"], round_).fetchall()[0] for round_ in rounds]
        return (rows[-1][0], rows[-1][1], next((row[2] for row in reversed(rows) if row[2]), None), None)

    patches.setattr(PostgresWriter, "_store_several", several)


def _deadlock_not_tried_again(patches: pytest.MonkeyPatch) -> None:
    patches.setattr(Fault.CROSSED, "again", False)


def _given_up_late(patches: pytest.MonkeyPatch) -> None:
    right = psycopg.Connection.wait

    def wait(self: Connection, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        try:
            return right(self, gen, interval, 1.5 * checks.GIVEN_UP_S)
        except Error:
            self.pgconn.finish()
            raise

    patches.setattr(Connection, "wait", wait)


FENCE = "AND incarnation = %(incarnation)s AND lost_at IS NULL"

PLANTED: dict[str, Planted] = {
    "incarnation-not-checked": Planted(
        "what arrives late is void",
        checks.a_request_that_arrives_late_stores_nothing,
        _edit("commit_round", FENCE, "AND %(incarnation)s > 0 AND lost_at IS NULL"),
    ),
    "newer-process-not-noticed": Planted(
        "an older process is fenced",
        checks.a_newer_process_makes_void_what_the_older_has_on_its_way,
        _edit("commit_round", FENCE, "AND %(incarnation)s > 0 AND lost_at IS NULL"),
    ),
    "reopened-under-the-same-incarnation": Planted(
        "an older process is fenced",
        checks.a_newer_process_makes_void_what_the_older_has_on_its_way,
        _edit("open_node", "nodes.incarnation + 4294967296", "nodes.incarnation"),
    ),
    "settled-under-the-same-incarnation": Planted(
        "what arrives late is void",
        checks.a_request_that_arrives_late_stores_nothing,
        _edit("settle_batch", "SET incarnation = %(next)s", "SET incarnation = incarnation + 0 * %(next)s"),
    ),
    "settled-only-once": Planted(
        "a node does not fence itself",
        checks.a_connection_that_breaks_while_it_is_made_is_made_again,
        _edit("settle_batch", "AND incarnation < %(next)s", "AND incarnation = %(incarnation)s AND 0 < %(next)s"),
    ),
    "newer-process-taken-for-this-one": Planted(
        "an older process is fenced",
        checks.a_node_that_is_replaced_while_it_asks_does_not_guess,
        _edit("settle_batch", "AND incarnation < %(next)s", "AND 0 < %(next)s"),
    ),
    "lost-node-writes-on": Planted(
        "a node that was declared lost writes nothing",
        checks.a_lost_node_stores_nothing_of_what_was_on_its_way,
        _edit("commit_round", FENCE, "AND incarnation = %(incarnation)s"),
    ),
    "lost-node-not-asked": Planted(
        "what is said to be refused is not stored",
        checks.a_node_that_is_lost_while_it_asks_is_told_what_became_of_its_batch,
        _lost_node_not_asked,
    ),
    "owner-not-checked": Planted(
        "who does not own an instance does not change it",
        checks.what_another_node_runs_is_left_alone,
        _edit("commit_round", "AND (instances.owner IS NULL OR instances.owner = given.node)", ""),
    ),
    "owner-not-checked-where-it-is-replaced": Planted(
        "who does not own an instance does not replace it",
        checks.what_another_node_runs_is_not_replaced,
        _edit(
            "commit_round",
            "= given.node)\n    RETURNING given.save, instances.number\n),\nremoved",
            "IS NOT NULL)\n    RETURNING given.save, instances.number\n),\nremoved",
        ),
    ),
    "replaced-beside-its-successor": Planted(
        "nothing of an instance that is replaced is left",
        checks.a_replacement_that_is_cut_off_is_stored_wholly_or_not_at_all,
        _edit("commit_round", "removed_signals AS (DELETE FROM signals", "removed_signals AS (SELECT FROM signals"),
    ),
    "acknowledged-before-it-is-stored": Planted(
        "what was acknowledged is stored",
        checks.writers_that_are_thrown_out_know_the_truth,
        _acknowledged_before_it_is_stored,
    ),
    "lost-commit-sent-again": Planted(
        "what is said not to be stored is not",
        checks.an_answer_that_is_lost_is_found_out,
        _lost_commit_sent_again,
    ),
    "lost-commit-taken-for-refused": Planted(
        "what was refused is not stored",
        checks.an_answer_that_is_lost_is_found_out,
        _lost_commit_taken_for_refused,
    ),
    "batch-not-numbered": Planted(
        "what was refused is not stored",
        checks.an_answer_that_is_lost_is_found_out,
        _edit("commit_round", "SET batch = %(batch)s", "SET batch = batch + 0 * %(batch)s"),
    ),
    "refusals-ignored": Planted(
        "a save that conflicts is not acknowledged", checks.a_quiet_store_does_as_it_says, _refusals_ignored
    ),
    "refusals-of-the-last-round-only": Planted(
        "a save that conflicts is not acknowledged",
        checks.refusals_of_several_rounds_are_all_told,
        _edit(
            "commit_round", "WHEN excluded.batch THEN refusals.saves || excluded.saves", "WHEN -1 THEN excluded.saves"
        ),
    ),
    "refusals-of-a-lost-answer-ignored": Planted(
        "a save that conflicts is not acknowledged",
        checks.an_answer_that_is_lost_is_found_out,
        _refusals_of_a_lost_answer_ignored,
    ),
    "rounds-each-for-itself": Planted(
        "a batch that was refused has left nothing",
        checks.a_batch_that_fails_in_its_last_round_leaves_nothing_of_the_first,
        _rounds_each_for_itself,
    ),
    "rounds-each-acknowledged-as-all": Planted(
        "what was acknowledged is stored",
        checks.an_answer_of_many_that_is_lost_is_found_out,
        _rounds_each_for_itself,
    ),
    "claims-not-given-back": Planted(
        "what is due is woken by somebody",
        checks.a_claim_whose_answer_is_lost_can_be_made_again,
        _edit("release_claims", "owner = %(node)s", "owner = -%(node)s"),
    ),
    "claims-not-given-back-at-the-start": Planted(
        "what is due is woken by somebody",
        checks.a_node_that_comes_back_claims_anew,
        _edit("release_claims", "owner = %(node)s", "owner = -%(node)s"),
    ),
    "claims-not-fenced": Planted(
        "what arrives late is void",
        checks.a_claim_that_arrives_late_claims_nothing,
        _edit("claim_due", FENCE, "AND %(incarnation)s > 0 AND lost_at IS NULL"),
    ),
    "claims-not-waited-for": Planted(
        "what is due is woken by somebody",
        checks.a_claim_is_waited_for_by_who_gives_claims_back,
        _edit("claim_due", "FOR NO KEY UPDATE OF nodes", "FOR KEY SHARE OF nodes"),
    ),
    "takeover-told-once": Planted(
        "what a lost node ran is run by somebody",
        checks.a_takeover_whose_answer_is_lost_is_told_again,
        _edit("take_over", "CAST(%(again)s AS BOOLEAN)", "CAST(%(again)s AS BOOLEAN) AND FALSE"),
    ),
    "deadlock-not-tried-again": Planted(
        "those who cross each other both come through", checks.a_deadlock_is_tried_again, _deadlock_not_tried_again
    ),
    "given-up-late": Planted(
        "no call waits longer than it may", checks.a_network_that_falls_silent_is_given_up, _given_up_late
    ),
    "history-without-its-instance": Planted(
        "a save that conflicts leaves no trace",
        checks.a_quiet_store_does_as_it_says,
        _edit("commit_round", "AND instances.version = given.expected_version", ""),
    ),
    "change-under-an-old-incarnation": Planted(
        "an older process is fenced",
        checks.a_newer_process_makes_void_what_the_older_changes,
        _edit("begin_change", FENCE, "AND %(incarnation)s > 0 AND lost_at IS NULL"),
    ),
    "lost-node-changes-images": Planted(
        "a node that was declared lost writes nothing",
        checks.a_lost_node_changes_no_image,
        _edit("begin_change", FENCE, "AND incarnation = %(incarnation)s"),
    ),
    "change-not-numbered": Planted(
        "what was refused is not stored",
        checks.a_change_whose_answer_is_lost_is_found_out,
        _edit("begin_change", "SET batch = %(batch)s", "SET batch = batch + 0 * %(batch)s"),
    ),
    "image-not-held-by-who-pushes": Planted(
        "every version has a number of its own",
        checks.pushes_of_several_nodes_get_numbers_of_their_own,
        _edit("find_image_named", "FOR UPDATE", ""),
    ),
    "image-not-held-by-who-collects": Planted(
        "the current version stays",
        checks.a_version_that_becomes_current_meanwhile_is_not_collected,
        _edit("list_spare_versions", "FOR UPDATE OF images", ""),
    ),
    "pruned-without-being-held": Planted(
        "an instance goes completely or not at all",
        checks.what_somebody_changes_is_not_pruned_beside_him,
        _edit("list_finished", "FOR UPDATE SKIP LOCKED", ""),
    ),
    "copy-of-nothing": Planted(
        "an instance begins with what it was to begin with",
        checks.a_copy_that_cannot_be_made_is_refused,
        _edit("commit_round", "OR save IN (SELECT save FROM sources)", "OR TRUE"),
    ),
    "copy-without-end": Planted(
        "an instance begins with what it was to begin with",
        checks.a_copy_that_cannot_be_made_is_refused,
        _edit("commit_round", "WHERE last_seq IS NULL OR seq <= last_seq", ""),
    ),
    "event-twice": Planted(
        "an event of a request is written once",
        checks.a_quiet_store_does_as_it_says,
        lambda patches: patches.setattr("runtara.store._postgres_batch._Round._add_events", _add_events_twice),
    ),
}
"""By name."""


def _add_events_twice(self: Any, number: int, events: Sequence[Any]) -> None:
    from runtara.store._postgres_batch import _EventRow

    for nth, event in enumerate(events):
        values = (event.type, event.epoch, event.created_at, event.subtype, event.checkpoint_id, event.payload)
        self._events.append(_EventRow(number, nth, *values, None))
