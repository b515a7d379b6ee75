"""`runtara metrics`: how much a tenant gets done, hour by hour."""

from typing import Final, get_args

import click

from runtara.cli._reach import Reach, client_options
from runtara.cli._spans import typed_span
from runtara.cli._tables import Column, Table, json_option, print_json, print_rows
from runtara.cli._words import instant, span
from runtara.clock import SystemClock
from runtara.messages import GetTenantMetrics, Granularity, MetricsBucket

__all__ = ["METRICS", "metrics"]

METRICS: Final = Table(
    MetricsBucket,
    (
        Column("at", "from", instant),
        Column("started", "started"),
        Column("completed", "completed"),
        Column("failed", "failed"),
        Column("cancelled", "cancelled"),
        Column("average_ms", "average", span),
        Column("max_ms", "longest", span),
    ),
)


@click.command()
@click.option("--last", type=typed_span, default="24h", show_default=True, metavar="SPAN", help="How far back.")
@click.option(
    "--by",
    "granularity",
    type=click.Choice(get_args(Granularity)),
    default="hourly",
    show_default=True,
    help="How long each span of time is.",
)
@json_option
@client_options
def metrics(reach: Reach, last: int, granularity: Granularity, as_json: bool) -> None:
    """Tell how many instances were started and have ended in each span of time, and how long they took."""
    now = SystemClock().now_ms()
    command = GetTenantMetrics(
        tenant_id=reach.where.tenant, from_ms=max(0, now - last), to_ms=now + 1, granularity=granularity
    )
    with reach.door() as door:
        found = door.call_from_thread(command)
    if as_json:
        print_json(found)
    else:
        print_rows(METRICS, found.buckets)
