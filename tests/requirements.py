"""What some tests need and not every machine has.

A test that lacks something skips and says why. Where ``RUNTARA_TEST_REQUIRE`` names the thing (a list of names with
commas between, or ``1`` for everything), the machine has promised to have it, and the test fails instead.
"""

import os
import shutil

import pytest

__all__ = ["require"]


def require(name: str, reason: str, *, found: object = None) -> str:
    """Return the path of the program `name`, or skip the calling test (fixture, module) with `reason`.

    For what is not a program give `found`: something true if it is there. Call it at the top of a test, in a fixture,
    or at the top of a test module to skip all of it.
    """
    what = found or shutil.which(name)
    if what:
        return str(what)
    text = f"needs {name}, which is not here: {reason}"
    if _is_promised(name):
        pytest.fail(f"{text} (RUNTARA_TEST_REQUIRE promises it)", pytrace=False)
    pytest.skip(text, allow_module_level=True)


def _is_promised(name: str) -> bool:
    promised = os.environ.get("RUNTARA_TEST_REQUIRE", "").replace(" ", "").split(",")
    return "1" in promised or name in promised
