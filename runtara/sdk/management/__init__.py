"""Manage instances, images and schedules from Python: `Management`, `TrioManagement`, `AsyncioManagement`.

Each of them has a method for whatever a server can be asked for on behalf of a tenant, and four ways to come by it:
`connect(address)`, `from_env()`, `local()` for the server on this machine, `embedded(system)` for one in this process.
What is returned are the structs of [operations](operations.md). Errors are raised as the classes of `runtara.errors`.
"""

from runtara.sdk._wishes import AsyncStream, Stream
from runtara.sdk.management._async import AsyncioManagement, TrioManagement
from runtara.sdk.management._rows import AsyncRows, Rows
from runtara.sdk.management._sync import Management
from runtara.sdk.management._values import new_start, output_of

__all__ = [
    "AsyncRows",
    "AsyncStream",
    "AsyncioManagement",
    "Management",
    "Rows",
    "Stream",
    "TrioManagement",
    "new_start",
    "output_of",
]
