"""Recurring runs on a KFP server: one schedule per name, replaced without losing or repeating a tick.

KFP cannot change a recurring run, so a new definition is a new recurring run. KFP's scheduler (source:
backend/src/crd/controller/scheduledworkflow) works as follows. An enabled recurring run starts the most recent tick
since its creation or its last start, even if late. A disabled one starts nothing. Deleting one kills its active run,
unless the server knows propagation_policy=ORPHAN (KFP >= 2.16).

So a schedule is replaced in this order, in a minute without ticks:

    1. create the new one, disabled      killed after it: the old one is active; the next `create` removes the new one
    2. disable the old one               killed after it: neither is active; `create` (or `resume`) enables the new one,
    3. enable the new one                  which starts the most recent missed tick, late and once
    4. delete the old one                killed before it: the next `create` removes the disabled old one

A tick before step 1 belongs to the old one, a tick after step 2 to the new one, whenever step 3 happens: the two are
never active together. The reverse order (enable, then disable) could repeat a tick when killed, and deleting first
could lose one. The minute without ticks is needed because clocks and the scheduler are not exact: there is no tick in
the 60 s before step 1 (the scheduler may still be starting it) and none between steps 1 and 2. An active run of the old
schedule continues: its schedule is kept, disabled, until the run has ended.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from comface.config.canonical import canonical_json
from comface.errors import ConfigurationError, TryAgain
from comface.submit.connection import Connection
from comface.submit.cron import Cron, parse_cron
from comface.submit.package import Package
from comface.submit.runs import ENDED, experiment_id

logger = logging.getLogger(__name__)

SERVICE = "RecurringRunServiceApi"
MARK = "Kept by comface schedule; definition "
QUIET_S = 60
"""Longer than two requests take (connection.py), and longer than KFP's scheduler takes to start a tick (10 s)."""
WAIT_AT_MOST_S = 900


@dataclass(frozen=True)
class Schedule:
    """One of our recurring runs, as the server stores it."""

    id: str
    name: str
    cron: str
    enabled: bool
    definition: str
    experiment: str
    created: datetime
    parameters: dict[str, Any]

    def next(self, now: datetime) -> datetime | None:
        return parse_cron(self.cron).next(now) if self.enabled else None


@dataclass(frozen=True)
class Wanted:
    """The definition of a schedule. `cron` has been checked, `arguments` are typed."""

    name: str
    cron: Cron
    package: Package
    arguments: Mapping[str, Any]
    experiment: str
    account: str = ""

    @property
    def definition(self) -> str:
        """A digest; equal for equal schedules."""
        parts = [self.cron.text, self.package.sha256, dict(self.arguments), self.experiment, self.account]
        return hashlib.sha256(canonical_json(parts).encode()).hexdigest()[:16]


def schedules(connection: Connection, name: str | None = None) -> list[Schedule]:
    """The schedules that comface created (called `name`), oldest first."""
    found, token = [], ""
    options = {"namespace": connection.namespace} if connection.namespace else {}
    while True:
        page = connection.ask(
            SERVICE, "recurring_run_service_list_recurring_runs", page_size=100, page_token=token, **options
        )
        found += [_schedule(run) for run in page.recurring_runs or () if (run.description or "").startswith(MARK)]
        foreign = [run for run in page.recurring_runs or () if run.display_name == name]
        if any(not (run.description or "").startswith(MARK) for run in foreign):
            raise ConfigurationError(f"The recurring run '{name}' was not created by comface; choose another name.")
        token = page.next_page_token or ""
        if not token:
            return sorted((s for s in found if name in (None, s.name)), key=lambda s: s.created)


def create(
    connection: Connection,
    wanted: Wanted,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Makes `wanted` the only schedule of its name; returns what was done. May be repeated, also after a kill."""
    there = schedules(connection, wanted.name)
    experiment = experiment_id(connection, wanted.experiment)
    enabled = [schedule for schedule in there if schedule.enabled]
    newest = there[-1] if there else None
    if newest and newest.definition == wanted.definition and enabled in ([newest], []):
        if not enabled:
            _switch(connection, newest.id, "enable")
        _retire(connection, there[:-1])
        return f"{wanted.name} is unchanged" if enabled else f"{wanted.name} was disabled and is enabled again"
    if not enabled:
        _make(connection, wanted, experiment, enabled=True)
        _retire(connection, there)
        return f"{wanted.name} is created; it replaces a disabled one" if there else f"{wanted.name} is created"
    _retire(connection, [schedule for schedule in there if not schedule.enabled])
    _wait_for_quiet(enabled, now, sleep)
    new = _make(connection, wanted, experiment, enabled=False)
    for schedule in enabled:
        _switch(connection, schedule.id, "disable")
    _switch(connection, new, "enable")
    _retire(connection, enabled)
    return f"{wanted.name} is replaced"


def pause(connection: Connection, name: str) -> str:
    for schedule in _existing(connection, name):
        if schedule.enabled:
            _switch(connection, schedule.id, "disable")
    return f"{name} is paused; an active run continues"


def resume(connection: Connection, name: str) -> str:
    """Enables only the newest. KFP then starts the most recent missed tick, late and once."""
    *older, newest = _existing(connection, name)
    if any(schedule.enabled for schedule in older):
        raise ConfigurationError(f"A replacement of '{name}' was interrupted; run its `comface schedule create` again.")
    if newest.enabled:
        return f"{name} was not paused"
    _switch(connection, newest.id, "enable")
    return f"{name} is resumed; if ticks were missed, KFP starts the most recent one now"


def delete(connection: Connection, name: str) -> str:
    there = _existing(connection, name)
    for schedule in there:
        if schedule.enabled:
            _switch(connection, schedule.id, "disable")
    kept = _retire(connection, there)
    if kept:
        raise TryAgain(
            f"The run {kept[0]} of '{name}' is active, and deleting its schedule would kill it; the schedule is paused "
            "instead, delete it again when the run has ended."
        )
    return f"{name} is deleted"


def _existing(connection: Connection, name: str) -> list[Schedule]:
    there = schedules(connection, name)
    if not there:
        raise ConfigurationError(f"There is no schedule '{name}'; `comface schedule list` shows those that exist.")
    return there


def _make(connection: Connection, wanted: Wanted, experiment: str, enabled: bool) -> str:
    import kfp_server_api as api

    body = api.V2beta1RecurringRun(
        experiment_id=experiment,
        display_name=wanted.name,
        description=MARK + wanted.definition,
        pipeline_spec=wanted.package.specification,
        runtime_config=api.V2beta1RuntimeConfig(parameters=dict(wanted.arguments)),
        trigger=api.V2beta1Trigger(cron_schedule=api.V2beta1CronSchedule(cron=wanted.cron.text)),
        mode="ENABLE" if enabled else "DISABLE",
        max_concurrency="1",
        no_catchup=True,
        service_account=wanted.account or None,
    )
    made = connection.ask(SERVICE, "recurring_run_service_create_recurring_run", recurring_run=body)
    return str(made.recurring_run_id)


def _switch(connection: Connection, schedule: str, to: str) -> None:
    connection.ask(SERVICE, f"recurring_run_service_{to}_recurring_run", schedule)


def _retire(connection: Connection, disabled: Sequence[Schedule]) -> list[str]:
    """Deletes disabled schedules. A schedule with an active run is kept, because an older server would kill that run;
    returns the ids of those runs."""
    kept = []
    for schedule in disabled:
        running = _running(connection, schedule)
        if running:
            kept.append(running)
            logger.warning(
                f"{schedule.name}: the run {running} continues; its old schedule stays, disabled, until the next create"
            )
        else:
            connection.ask(
                SERVICE, "recurring_run_service_delete_recurring_run", schedule.id, propagation_policy="ORPHAN"
            )
    return kept


def _running(connection: Connection, schedule: Schedule) -> str | None:
    """The id of the active run of `schedule`. It is among the newest, because only one runs at a time."""
    page = connection.ask(
        "RunServiceApi", "run_service_list_runs", experiment_id=schedule.experiment, page_size=100,
        sort_by="created_at desc",
    )  # fmt: skip
    for run in page.runs or ():
        if run.recurring_run_id == schedule.id and run.state not in ENDED:
            return str(run.run_id)
    return None


def _wait_for_quiet(enabled: Sequence[Schedule], now: Callable[[], datetime], sleep: Callable[[float], None]) -> None:
    """Returns at a moment without a tick of `enabled` within QUIET_S, in any time zone that KFP may use."""
    crons = [parse_cron(schedule.cron).at_any_hour() for schedule in enabled]
    until = now() + timedelta(seconds=WAIT_AT_MOST_S)
    margin = timedelta(seconds=QUIET_S)
    while near := [t for cron in crons if (t := cron.next(now() - margin)) and t <= now() + margin]:
        if now() > until:
            raise TryAgain(
                f"The schedule '{enabled[0].name}' has no {2 * QUIET_S} s without a tick; pause it, then create it."
            )
        wait_s = (max(near) + margin - now()).total_seconds() + 1
        logger.info(f"{enabled[0].name}: waiting {wait_s:.0f} s, so that no tick occurs during the replacement")
        sleep(wait_s)


def _schedule(run: Any) -> Schedule:
    cron = run.trigger.cron_schedule.cron if run.trigger and run.trigger.cron_schedule else ""
    return Schedule(
        id=run.recurring_run_id,
        name=run.display_name,
        cron=cron,
        enabled=run.status != "DISABLED" if run.status else run.mode == "ENABLE",
        definition=run.description.removeprefix(MARK),
        experiment=run.experiment_id,
        created=run.created_at,
        parameters=dict((run.runtime_config.parameters if run.runtime_config else None) or {}),
    )
