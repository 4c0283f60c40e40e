"""`comface schedule`: recurring runs of the pipeline on a KFP server, one per name (docs/scheduling.md)."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from comface.commands.options import AS_JSON, SENT_BASE, configured
from comface.commands.submit import SENT, SERVER, Sent, Server
from comface.commands.surface import Group, argument, option
from comface.plan.chosen import Chosen
from comface.runtime.output import say

if TYPE_CHECKING:
    from comface.submit.schedules import Schedule

NAME = argument("name", "NAME", "name of the schedule")


@click.group(cls=Group)
def schedule() -> None:
    """Create, list, pause, resume or delete recurring runs.

    Each schedule has its own name (docs/scheduling.md).
    """


@schedule.command(
    needs=["cluster"],
    example="comface schedule create weekly --cron '0 0 2 * * 1' --param store=s3://comface/artifacts",
)
@NAME
@option("--cron", "CRON", "six fields, seconds first, UTC: '0 0 2 * * 1' is Mondays at 2:00", required=True)
@configured(store=False, base=SENT_BASE)
@SENT
@SERVER
def create(name: str, cron: str, chosen: Chosen, sent: Sent, server: Server) -> None:
    """Create a recurring run. A schedule of the same name is replaced without a missed or duplicate run."""
    from comface.submit.cron import checked_cron
    from comface.submit.schedules import Wanted, create

    ticks = checked_cron(cron, datetime.now(UTC))
    package, values, _ = sent.checked(chosen, name)
    wanted = Wanted(name, ticks, package, values, sent.experiment, sent.service_account)
    done = create(server.connect(), wanted)
    say(f"{done}; next run {ticks.next(datetime.now(UTC)):%a %Y-%m-%d %H:%M:%S} UTC")


@schedule.command("list", needs=["cluster"], example="comface schedule list --json")
@AS_JSON
@SERVER
def list_(as_json: bool, server: Server) -> None:
    """List all schedules with the time of their next run."""
    from comface.submit.schedules import schedules

    found, now = schedules(server.connect()), datetime.now(UTC)
    if as_json:
        print(json.dumps([_row(schedule, now) for schedule in found], indent=1))
        return
    for row in (_row(schedule, now) for schedule in found):
        values = " ".join(f"{name}={_shown(value)}" for name, value in row["parameters"].items())
        when = f"next {row['next']}" if row["next"] else "paused"
        print(f"{row['name']:<20} {row['cron']:<18} {when:<28} {values}".rstrip())
    if not found:
        say("There are no schedules.")
    twice = {s.name for s in found if sum(o.enabled and o.name == s.name for o in found) > 1}
    for name in sorted(twice):
        say(f"'{name}' exists twice and would start each run twice; run its `comface schedule create` again")


def _changing(verb: str, text: str) -> None:
    def change(name: str, server: Server) -> None:
        from comface.submit import schedules

        actions: dict[str, Callable[..., str]]
        actions = {"pause": schedules.pause, "resume": schedules.resume, "delete": schedules.delete}
        say(actions[verb](server.connect(), name))

    schedule.command(verb, needs=["cluster"], help=text, example=f"comface schedule {verb} weekly")(
        NAME(SERVER(change))
    )


_changing("pause", "Pause a schedule: start no more runs. Runs that have started continue.")
_changing("resume", "Resume a schedule, and immediately start the latest run that was missed.")
_changing("delete", "Delete a schedule. Runs that have started continue.")


def _row(schedule: Schedule, now: datetime) -> dict[str, Any]:
    tick = schedule.next(now)
    return {
        "name": schedule.name,
        "cron": schedule.cron,
        "enabled": schedule.enabled,
        "next": f"{tick:%Y-%m-%d %H:%M:%S} UTC" if tick else None,
        "parameters": schedule.parameters,
        "id": schedule.id,
    }


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
