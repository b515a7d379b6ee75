"""The tests mirror the code: runtara/store/_sqlite.py is tested in tests/store/test_sqlite.py.

A private part of a larger noun may be tested with it: actors/_instance_steps.py in actors/test_instance_steps.py or in
actors/test_instance.py.
"""

from pathlib import PurePosixPath

from tests.house.source import ROOT, modules

ELSEWHERE = {
    "runtara/records.py": "only data; the store's conformance suite writes and reads every field",
    "runtara/messages/_host.py": "only messages; tests/test_messages.py sends each of them over the wire",
    "runtara/messages/_images.py": "only messages; tests/test_messages.py sends each of them over the wire",
    "runtara/messages/_instances.py": "only messages; tests/test_messages.py sends each of them over the wire",
    "runtara/messages/_keys.py": "only messages; tests/test_messages.py sends each of them over the wire",
    "runtara/messages/_many.py": "only messages; tests/test_messages.py sends each of them over the wire",
    "runtara/messages/_pool.py": "only messages; tests/test_messages.py sends each of them over the wire",
    "runtara/messages/_queries.py": "only messages; tests/test_messages.py sends each of them over the wire",
    "runtara/messages/_schedules.py": "only messages; tests/test_messages.py sends each of them over the wire",
    "runtara/messages/_starts.py": "only messages; tests/test_messages.py sends each of them over the wire",
    "runtara/messages/_upkeep.py": "only messages; tests/test_messages.py sends each of them over the wire",
    "runtara/messages/_replies.py": "only messages; tests/test_replies.py sends each of them over the wire",
    "runtara/messages/_requests.py": "a marker for type checkers; tests/test_messages.py reads it off every command",
    "runtara/settings/_program.py": "one table of settings; tests/test_settings.py reads it from environments",
    "runtara/settings/_system.py": "one table of settings; tests/test_settings.py reads it from environments",
    "runtara/settings/_values.py": "only types; tests/test_settings.py reads values that do not fit",
    "runtara/transport/client/call.py": "what Calls keeps of each; tests/transport/client/test_calls.py",
    "runtara/transport/client/engine.py": "nothing without a door; tests/transport/client/test_door.py has every kind",
    "runtara/transport/client/link.py": "likewise; tests/transport/test_remote.py gives it several servers",
    "runtara/sdk/_steps.py": "how a step is tried and kept: tests/sdk/test_durable.py tries it in every way",
    "runtara/sdk/flow/_checks.py": "what `build` refuses: tests/sdk/flow/test_builder.py provokes every row of it",
    "runtara/sdk/flow/_faces.py": "how walks are taken: tests/sdk/flow/test_runner.py takes every kind in every way",
    "runtara/sdk/flow/_crew.py": "tests/sdk/flow/test_worker.py has crews of every size, test_lead.py freezes them",
    "runtara/sdk/flow/_help.py": "tests/sdk/flow/test_worker.py runs branches elsewhere, in every way to fail",
    "runtara/sdk/flow/_runs.py": "tests/sdk/flow/test_runner.py begins and ends in every way, test_submit.py too",
    "runtara/sdk/flow/_sharing.py": "tests/sdk/flow/test_worker.py has branches that only end where they run at once",
    "runtara/sdk/flow/_tries.py": "tests/sdk/flow/test_worker.py cancels, times out and tries again everywhere",
    "runtara/sdk/flow/_failures.py": "tests/sdk/flow/test_runner.py and test_traps.py fail in every way that there is",
    "runtara/sdk/flow/_kept.py": "tests/sdk/flow/test_runner.py kills runs that are kept at every call",
    "runtara/sdk/flow/_nodes.py": "only data; tests/sdk/flow/test_definition.py has every kind of node",
    "runtara/sdk/flow/_notes.py": "only data; tests/sdk/flow/test_client.py asks for every status",
    "runtara/sdk/flow/_standing.py": "tests/sdk/flow/test_client.py asks for every status",
    "runtara/sdk/flow/_transient.py": "tests/sdk/flow/test_runner.py runs every graph without keeping it",
    "runtara/sdk/flow/_walk.py": "tests/sdk/flow/test_runner.py walks over every kind of node",
    "runtara/sdk/flow/backend.py": "tests/sdk/flow/conftest.py opens each kind for the other tests",
    "runtara/sdk/flow/context.py": "tests/sdk/flow/test_workflow.py looks at it from inside a task",
    "runtara/sdk/flow/errors.py": "only classes; the tests of those who raise them provoke each",
    "runtara/sdk/flow/status.py": "only data; tests/sdk/flow/test_client.py asks for every status",
    "runtara/actors/_deferred.py": "tests/actors/test_service.py answers later in every way",
    "runtara/actors/_reporter.py": "the tests of programs and of the pool report everything that there is",
    "runtara/actors/_waker.py": "what scheduler and claimer have in common; the tests of both say all that it hears",
    "runtara/actors/_schedule_calls.py": "the desk of an actor; the tests of that actor, schedules, ask for everything",
    "runtara/actors/_schedule_checks.py": "a table of checks; the tests of schedules hold it to every bad call",
    "runtara/actors/launcher.py": "only data; the tests of the system and of the host give it to them",
    "runtara/actors/places.py": "only messages; the tests of the scheduler and of the runner say and hear them",
    "runtara/transport/callers.py": "only what is known of a client; tests/transport/test_admission.py lets them in",
    "runtara/store/_contract.py": "only promises; the store's conformance suite holds every store to them",
}
"""Modules without a test file of their own, each with the place that tests it."""


def mirrors(module: str) -> list[str]:
    """Where the tests of a module may live, the closest first."""
    path = PurePosixPath(module)
    words = path.stem.lstrip("_").split("_")
    shortest = 0 if path.stem.startswith("_") else len(words) - 1
    stems = ["_".join(words[:count]) for count in range(len(words), shortest, -1)]
    return [str(PurePosixPath("tests", *path.parts[1:-1], f"test_{stem}.py")) for stem in stems]


def is_mirrored(module: str) -> bool:
    """Whether a test file for the module exists."""
    return any((ROOT / name).is_file() for name in mirrors(module))


def needing_tests() -> list[str]:
    """Modules that need a test file: all but the fronts of packages."""
    return [name for name in modules() if not PurePosixPath(name).name.startswith("__") and name not in ELSEWHERE]


def test_every_module_has_its_test_file() -> None:
    alone = {module: mirrors(module) for module in needing_tests() if not is_mirrored(module)}

    said = [f"{module} has no {' or '.join(names)}" for module, names in alone.items()]
    assert not alone, "\n".join([*said, "if on purpose, say why in ELSEWHERE"])


def test_the_exceptions_are_still_needed() -> None:
    gone = [module for module in ELSEWHERE if not (ROOT / module).is_file()]
    mirrored = [module for module in ELSEWHERE if is_mirrored(module)]

    assert gone == [], "these are gone: take them out of ELSEWHERE"
    assert mirrored == [], "these have a test file now: take them out of ELSEWHERE"
