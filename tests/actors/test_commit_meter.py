"""What the writer counts of its transactions."""

from collections.abc import Sequence

import pytest

from runtara.actors._commit_meter import CommitMeter
from runtara.errors import StoreFull
from runtara.metrics import Metrics
from runtara.store import Save, open_store
from tests.actors.stage import WatchedStore, key_of
from tests.store.samples import checkpoint, save, signal


def test_what_was_stored_is_counted_and_what_lost_a_race_is_not() -> None:
    metrics, writer = Metrics(), open_store("memory://").open_writer()
    saves = [save(key_of("a"), checkpoints=(checkpoint("c"),), signals=(signal("s"),)), save(key_of("b"))]
    meter = CommitMeter(metrics)

    assert meter.commit(writer, saves) == [True, True]
    assert meter.commit(writer, saves[:1]) == [False]

    assert metrics.count("runtara_transitions_total").value == 2
    assert metrics.count("runtara_checkpoints_total").value == 1
    assert metrics.count("runtara_signals_total").value == 1
    assert metrics.tally("runtara_commit_batch_size").total == 3
    assert sum(metrics.tally("runtara_commit_seconds").counts) == 2


def test_a_look_whether_the_store_works_is_no_transaction() -> None:
    metrics, writer = Metrics(), open_store("memory://").open_writer()

    CommitMeter(metrics).commit(writer, ())

    assert sum(metrics.tally("runtara_commit_seconds").counts) == 0


def test_a_failure_is_counted_by_its_code() -> None:
    def fail(_: Sequence[Save]) -> None:
        raise StoreFull("no space is left")

    metrics, store = Metrics(), WatchedStore(open_store("memory://"))
    store.before_commit = fail
    writer = store.open_writer()

    with pytest.raises(StoreFull):
        CommitMeter(metrics).commit(writer, [save(key_of("a"))])

    assert metrics.counts("runtara_store_failures_total").values == {("store-full",): 1}
    assert metrics.count("runtara_transitions_total").value == 0
