"""The header of the report, which can be cited: what was run, when, how long, where, and from which source code.

In: what the run's plan says, and how each artifact behind the results was made (artifacts/made.py). Out: lines of the
header. What no artifact records is said to be unknown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from comface.artifacts.made import UNKNOWN, Made, Source, made_since
from comface.evaluate.tables import About


@dataclass(frozen=True)
class RunFacts:
    """What the plan of a run says; all of it is part of the report's address except the times."""

    command: str = ""
    """The command that gives the same run."""
    profile: str = ""
    notes: tuple[str, ...] = ()
    """What the run leaves out, and why."""
    titles: Mapping[str, str] = field(default_factory=dict)
    """Task → title, of the tasks whose configuration gives one."""
    about: About = field(default_factory=About)
    started: float | None = None
    """Seconds since 1970; None: no run, a single step."""
    now: float | None = None


@dataclass(frozen=True)
class Line:
    term: str
    text: str
    code: bool = False


def lines(run: RunFacts, made: Sequence[Made | None], address: str) -> list[Line]:
    now = made_since(run.now if run.now is not None else 0.0)
    known = [each for each in made if each is not None]
    found = [
        Line("Made on", _date(run.now)),
        Line("Command", run.command or UNKNOWN, code=bool(run.command)),
        Line("Profile", run.profile),
        Line("Source code", _source([now, *known])),
        Line("Software", _versions([now, *known])),
        Line("Machines", _machines(known)),
        Line("Time", _time(run, known, len(made))),
        Line("This report", address, code=True),
        *(Line("Note", note) for note in run.notes),
    ]
    return [line for line in found if line.text]


def citation(run: RunFacts, address: str) -> str:
    """One line for a paper or a protocol."""
    here = made_since(0.0)
    commit = here.source.commit[:12] if here.source.commit != UNKNOWN else "unknown commit"
    changed = " with local changes" if here.source.modified else ""
    return f"ComFace {here.versions['comface']} ({commit}{changed}), report {address}, {_date(run.now)}"


def _date(at: float | None) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC" if at is not None else UNKNOWN


def _source(made: Sequence[Made]) -> str:
    first = made[0].source
    text = _commit(first)
    others = {_commit(each.source) for each in made[1:]} - {text}
    if others:
        text += f"; some inputs were made by other code: {', '.join(sorted(others))}"
    return text


def _commit(source: Source) -> str:
    if source.commit == UNKNOWN:
        return "commit unknown"
    state = {True: "with uncommitted changes", False: "clean", None: "state unknown"}[source.modified]
    return f"commit {source.commit} ({state})"


def _versions(made: Sequence[Made]) -> str:
    found: dict[str, list[str]] = {}
    for each in made:
        for name, version in each.versions.items():
            if version not in found.setdefault(name, []):
                found[name].append(version)
    return ", ".join(f"{name} {' and '.join(versions)}" for name, versions in found.items())


def _machines(made: Sequence[Made]) -> str:
    cpus = Counter(f"{each.cpu}, {each.cores} cores" for each in made)
    gpus = Counter(f"{each.processes} × {each.gpu}" for each in made if each.gpu)
    return "; ".join([*(name for name, _ in gpus.most_common()), *(name for name, _ in cpus.most_common())]) or UNKNOWN


def _time(run: RunFacts, made: Sequence[Made], artifacts: int) -> str:
    """Wall clock of this run until the report; time of all steps behind it, whenever they ran."""
    parts = []
    if run.started is not None and run.now is not None:
        reused = sum(each.started < run.started for each in made)
        parts.append(f"{_duration(run.now - run.started)} from the start of this run to this report")
        if reused:
            parts.append(f"{reused:,} of {artifacts:,} artifacts were reused from earlier runs")
    hours, gpu_hours = sum(each.seconds for each in made) / 3600, sum(each.gpu_hours for each in made)
    parts.append(f"{_duration(hours * 3600)} in all steps behind it, {gpu_hours:.2f} GPU-hours")
    if len(made) < artifacts:
        parts.append(f"the time of {artifacts - len(made):,} artifacts is unknown")
    return "; ".join(parts)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
