"""Schedules on a server that starts runs as KFP's scheduler does: no tick is missed or doubled, whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from kfp_api_server import KfpServer, Refused
from tiny_run import command

from comface.cli import main
from comface.errors import ComfaceError, TryAgain
from comface.submit import schedules
from comface.submit.connection import connect
from comface.submit.cron import parse_cron
from comface.submit.package import read_package

PIPELINE = Path(__file__).resolve().parents[2] / "pipelines" / "comface.yaml"
DAY = timedelta(days=1)


class Place:
    """A server whose clock a test moves in whole days (so that the minutes are those of this machine's clock), and a
    daily tick half an hour away from now."""

    def __init__(self, server: KfpServer) -> None:
        self.server, self.days = server, 0
        server.clock = lambda: datetime.now(UTC) + self.days * DAY
        self.cron = f"0 {(datetime.now(UTC).minute + 30) % 60} 2 * * *"

    def a_day_passes(self) -> None:
        """KFP's scheduler looks again, and the run that it starts ends."""
        self.days += 1
        self.look()

    def look(self) -> None:
        self.server.schedule()
        self.server.end_runs()

    def create(self, *arguments: str, cron: str = "") -> int:
        words = ("--cron", cron or self.cron, "--pipeline", str(PIPELINE), "--registry", "nodes")
        return self("create", "weekly", *words, *arguments)

    def __call__(self, *arguments: str) -> int:
        return main(["schedule", *arguments, "--endpoint", self.server.endpoint])

    @property
    def runs(self) -> list[dict[str, object]]:
        return self.server.all("recurringruns")

    def ticks(self) -> list[datetime]:
        return [tick for _, tick in self.server.started]


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    for name in ("KFP_NAMESPACE", "KFP_EXISTING_TOKEN", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    with KfpServer() as server:
        yield Place(server)


# The life of a schedule


def test_a_schedule_is_enabled_one_at_a_time_without_catching_up(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert place.create("--profile", "laptop", "--param", "store=s3://b/x") == 0
    (run,) = place.runs
    assert (run["mode"], run["max_concurrency"], run["no_catchup"]) == ("ENABLE", "1", True)
    assert run["trigger"] == {"cron_schedule": {"cron": place.cron}}
    assert run["runtime_config"] == {
        "parameters": {"store": "s3://b/x", "profile": "laptop", "nodes": 1, "gpus_per_node": 0}
    }
    assert "platform_spec" in run["pipeline_spec"]
    assert place.create("--set", "transfer.folds=3", "--param", "tasks=age", "--param", "store=s3://b/x") == 0
    sent = place.runs[-1]["runtime_config"]["parameters"]
    assert (sent["overrides"], sent["tasks"]) == ({"transfer.folds": 3}, ["age"]), "typed, as a server wants them"
    assert "weekly is created; next run " in capsys.readouterr().err


def test_list_pause_resume_and_delete(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert place("list") == 0
    assert capsys.readouterr().err == "There are no schedules.\n"
    assert place.create("--param", "nodes=2") == 0
    capsys.readouterr()
    assert place("list") == 0
    line = capsys.readouterr().out
    assert line.startswith("weekly ")
    assert place.cron in line
    assert " next 20" in line
    assert line.endswith("nodes=2\n")
    assert place("pause", "weekly") == 0
    assert place.runs[0]["status"] == "DISABLED"
    capsys.readouterr()
    assert place("list", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["enabled"], row["next"], row["parameters"]) == (False, None, {"nodes": 2})
    assert place("resume", "weekly") == 0
    assert place.runs[0]["status"] == "ENABLED"
    assert place("delete", "weekly") == 0
    assert place.runs == []


@pytest.mark.parametrize("verb", ["pause", "resume", "delete"])
def test_a_name_that_is_not_there_is_one_sentence(place: Place, capsys: pytest.CaptureFixture[str], verb: str) -> None:
    assert place(verb, "nightly") == 64
    assert "There is no schedule 'nightly'; `comface schedule list`" in capsys.readouterr().err


def test_a_wrong_cron_or_parameter_is_found_before_anything_is_sent(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert place.create(cron="0 2 * * 1") == 64
    assert place.create("--param", "nodes=two") == 64
    assert place.server.requests == []
    assert "has five fields" in capsys.readouterr().err


def test_a_recurring_run_of_someone_else_is_left_alone(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert place.create() == 0
    place.runs[0]["description"] = "mine"
    assert place.create("--param", "nodes=2") == 64
    assert "was not created by comface; choose another name" in capsys.readouterr().err
    assert place("list") == 0
    assert capsys.readouterr().err == "There are no schedules.\n"


def test_schedules_beyond_the_first_page_are_found(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    assert place.create() == 0
    connection = connect(place.server.endpoint, None, {})
    pages = iter([("two", []), ("", place.runs)])
    original = place.server._listed

    def paged(kind: str, query: dict[str, str]) -> list[dict[str, object]]:
        return original(kind, query) if kind != "recurringruns" else []

    monkeypatch.setattr(place.server, "_listed", paged)
    route = place.server.answer

    def answer(method: str, path: str, query: dict[str, str], body: object) -> object:
        if path.endswith("/recurringruns"):
            token, found = next(pages)
            return {"recurringRuns": found, "next_page_token": token}
        return route(method, path, query, body)

    monkeypatch.setattr(place.server, "answer", answer)
    assert [schedule.name for schedule in schedules.schedules(connection)] == ["weekly"]


# Create again


def test_the_same_definition_again_changes_nothing(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert place.create("--param", "nodes=2") == place.create("--param", "nodes=2") == 0
    assert len(place.runs) == 1
    assert "weekly is unchanged" in capsys.readouterr().err
    assert [path for method, path in place.server.requests if method == "POST"] == [
        "/apis/v2beta1/experiments", "/apis/v2beta1/recurringruns",
    ]  # fmt: skip


def test_another_definition_replaces_it_in_the_safe_order(place: Place) -> None:
    assert place.create("--param", "nodes=2") == 0
    old = place.runs[0]["recurring_run_id"]
    place.server.requests.clear()
    assert place.create("--param", "nodes=8") == 0
    (new,) = place.runs
    assert new["runtime_config"] == {"parameters": {"nodes": 8}}
    assert (new["mode"], new["status"]) == ("DISABLE", "ENABLED")
    api = "/apis/v2beta1/recurringruns"
    assert [request for request in place.server.requests if request[0] != "GET"] == [
        ("POST", api),
        ("POST", f"{api}/{old}:disable"),
        ("POST", f"{api}/{new['recurring_run_id']}:enable"),
        ("DELETE", f"{api}/{old}"),
    ]


def test_a_paused_schedule_that_is_created_anew_does_not_make_up_for_its_pause(place: Place) -> None:
    assert place.create("--param", "nodes=2") == place("pause", "weekly") == 0
    place.a_day_passes()
    assert place.create("--param", "nodes=8") == 0
    place.look()
    assert place.ticks() == []
    place.a_day_passes()
    assert len(place.ticks()) == 1


def test_resume_makes_up_for_the_latest_tick_alone(place: Place) -> None:
    assert place.create() == place("pause", "weekly") == 0
    for _ in range(3):
        place.a_day_passes()
    assert place.ticks() == []
    assert place("resume", "weekly") == 0
    place.look()
    assert len(place.ticks()) == 1


# A run that is under way


@pytest.mark.parametrize("orphans", [True, False], ids=["2.16 and later", "earlier servers"])
def test_a_run_under_way_survives_replacement_and_deletion(
    place: Place, capsys: pytest.CaptureFixture[str], orphans: bool
) -> None:
    place.server.orphans = orphans
    assert place.create("--param", "nodes=2") == 0
    place.days += 1
    place.server.schedule()
    assert place.create("--param", "nodes=8") == 0
    assert [run["status"] for run in place.runs] == ["DISABLED", "ENABLED"]
    assert "continues; its old schedule stays, disabled" in capsys.readouterr().err
    assert place("delete", "weekly") == 75
    assert "deleting its schedule would kill it; the schedule is paused" in capsys.readouterr().err
    assert [run["status"] for run in place.runs] == ["DISABLED"]
    assert place.server.killed == []
    place.server.end_runs()
    assert place("delete", "weekly") == 0
    assert place.runs == []


# Near a tick


class Clock:
    def __init__(self, start: datetime) -> None:
        self.time, self.slept = start, 0.0

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)
        self.slept += seconds


@pytest.mark.parametrize(
    ("offset_s", "waits_s"), [(-200, 0), (-61, 0), (-59, 120), (0, 61), (30, 31), (59, 2), (62, 0), (300, 0)]
)
def test_a_replacement_keeps_a_minute_away_from_any_tick(place: Place, offset_s: int, waits_s: int) -> None:
    tick = datetime(2026, 11, 30, 2, 0, tzinfo=UTC)
    clock = Clock(tick + timedelta(seconds=offset_s))
    old = schedules.Schedule("id", "weekly", "0 0 14 * * 3", True, "", "", tick, {})  # another hour: time zones
    schedules._wait_for_quiet([old], clock.now, clock.sleep)
    assert clock.slept == waits_s
    assert abs(clock.time - tick) > timedelta(seconds=schedules.QUIET_S)


def test_a_schedule_without_a_quiet_moment_is_not_replaced() -> None:
    clock = Clock(datetime(2026, 11, 30, 2, 0, tzinfo=UTC))
    dense = schedules.Schedule("id", "weekly", "0 * * * * *", True, "", "", clock.time, {})
    with pytest.raises(TryAgain, match="pause it, then create it"):
        schedules._wait_for_quiet([dense], clock.now, clock.sleep)


# Killed in the middle


SMALL = """
pipelineInfo: {name: small}
schemaVersion: 2.1.0
root:
  inputDefinitions: {parameters: {nodes: {parameterType: NUMBER_INTEGER, defaultValue: 4.0, isOptional: true}}}
"""


@pytest.fixture
def small(place: Place, tmp_path: Path) -> Callable[[int], schedules.Wanted]:
    """A definition of the schedule `weekly`, by its parameter `nodes`."""
    (tmp_path / "small.yaml").write_text(SMALL)
    package = read_package(tmp_path / "small.yaml")
    return lambda nodes: schedules.Wanted("weekly", parse_cron(place.cron), package, {"nodes": nodes}, "comface")


@pytest.mark.parametrize("lost", [False, True], ids=["before it was sent", "after it was done"])
@pytest.mark.parametrize("step", range(4), ids=["create", "disable", "enable", "delete"])
@pytest.mark.parametrize("days", [0, 1, 2], ids=lambda days: f"{days} ticks before the repair")
def test_a_replacement_that_was_killed_at_any_step_misses_and_doubles_nothing(
    place: Place, small: Callable[[int], schedules.Wanted], step: int, lost: bool, days: int
) -> None:
    """Ends at a step, without a further request: what a server sees of a killed process."""
    connection = connect(place.server.endpoint, None, {})
    schedules.create(connection, small(2))
    place.a_day_passes()
    changes = []

    def here(method: str, path: str) -> bool:
        return method != "GET" and len(changes) == step + 1

    def hook(method: str, path: str) -> None:
        changes.extend([path] if method != "GET" else [])
        if here(method, path) and not lost:
            raise Refused(503, "killed")

    place.server.hook, place.server.loses = hook, lambda method, path: lost and here(method, path)
    with pytest.raises(ComfaceError):
        schedules.create(connection, small(3))
    place.server.hook = lambda method, path: None
    place.server.loses = lambda method, path: False
    for _ in range(days):
        place.a_day_passes()
    schedules.create(connection, small(3))
    place.look()
    place.a_day_passes()
    (left,) = schedules.schedules(connection)
    assert left.enabled
    assert left.parameters == {"nodes": 3}
    ticks = place.ticks()
    assert len(set(ticks)) == len(ticks), "doubled"
    if days < 2 or len(ticks) == 4:
        assert len(ticks) == 2 + days, "missed"
    else:  # nobody ticked: of several that passed, the latest is made up for, as after any outage of KFP
        assert len(ticks) == 3
        assert ticks[1] - ticks[0] == 2 * DAY


def test_a_process_killed_between_disable_and_enable_is_mended_by_the_same_command(place: Place) -> None:
    assert place.create("--param", "nodes=2") == 0
    place.a_day_passes()
    waiting, go_on = threading.Event(), threading.Event()

    def hook(method: str, path: str) -> None:
        if path.endswith(":enable"):
            waiting.set()
            go_on.wait(30)
            raise Refused(503, "the process is gone")

    place.server.hook = hook
    again = ("schedule", "create", "weekly", "--cron", place.cron, "--pipeline", PIPELINE, "--param", "nodes=8",
             "--registry", "nodes", "--endpoint", place.server.endpoint)  # fmt: skip
    with subprocess.Popen(command(*again), env=dict(os.environ), stderr=subprocess.DEVNULL) as process:
        assert waiting.wait(60)
        process.send_signal(signal.SIGKILL)
    go_on.set()
    place.server.hook = lambda method, path: None
    assert [run["status"] for run in place.runs] == ["DISABLED", "DISABLED"]
    place.a_day_passes()
    assert len(place.ticks()) == 1, "the tick waits"
    assert place.create("--param", "nodes=8") == 0
    place.look()
    place.a_day_passes()
    assert len(place.ticks()) == len(set(place.ticks())) == 3
    assert [run["status"] for run in place.runs] == ["ENABLED"]
