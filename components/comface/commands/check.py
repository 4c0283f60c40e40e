"""`comface check`: reads data sets alone, and says in seconds what a run would find and refuse."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comface.commands.options import AS_JSON, configured
from comface.commands.surface import argument, command, flag
from comface.errors import ComfaceError, ConfigurationError, gathered
from comface.plan.chosen import Chosen

if TYPE_CHECKING:
    from comface.plan.configuration import RunConfig
    from comface.plan.study import Examined

MOST_PLACES = 10
"""Files or lines that are listed per reason; --json lists all."""


@command(
    needs=["train"],
    example="comface check /data/clinic\ncomface check --config study.yaml\ncomface check my-study --config study.yaml",
)
@argument("datasets", "[DATASET...]", "names in `data`, or folders (default: every data set with a `uri`)", nargs=-1)
@flag("--faces every_face", "look for a face in every photo, and for copies under other names (default: a sample)")
@AS_JSON
@configured()
def check(datasets: tuple[str, ...], every_face: bool, as_json: bool, chosen: Chosen) -> int:
    """Read data sets as a run would, and say in seconds what was found, left out, assumed and is wrong.

    Everything that is wrong is reported at once. The exit code is 0 if a run accepts the data sets. Of a folder, the
    layout is recognized and a configuration is printed. The output names files and lines of your data: it is for you,
    not for a log.
    """
    from comface.plan.study import examine_dataset

    placed = {name for name, source in chosen.configuration().data.items() if source.uri}
    folders: dict[str, str] = {}
    for each in datasets:
        if each in placed or not _is_folder(each):
            continue
        if (other := folders.setdefault(_name(each), each)) != each:
            raise ConfigurationError(f"The folders '{other}' and '{each}' have one name; check them one at a time.")
    guessed, unread = _guessed(folders)
    config = chosen.configuration(more=[*unread, *guessed])
    config = chosen.configuration(more=[*unread, *guessed, *chosen.of_a_study(config)])
    names = _chosen(config, [_name(each) if each in folders.values() else each for each in datasets])
    examined = [examine_dataset(config, name, every_face) for name in names]
    problems = [*_configuration_problems(config, examined), *(each for one in examined for each in one.problems)]
    if as_json:
        told = {
            "accepted": not problems,
            "problems": [str(each) for each in problems],
            "data": [_as_json(one) for one in examined],
            "configuration": _nested(guessed),
        }
        print(json.dumps(told, indent=1, ensure_ascii=False))
    else:
        print("\n".join(_page(examined, problems, guessed)))
    return gathered(problems).exit_code if problems else 0


def _is_folder(word: str) -> bool:
    """Or a file, given by mistake."""
    return "/" in word or word.startswith((".", "~")) or Path(word).exists()


def _name(folder: str) -> str:
    plain = re.sub(r"[^a-z0-9_-]+", "-", Path(folder).expanduser().absolute().name.casefold()).strip("-_")
    return (plain or "study")[:40]


def _chosen(config: RunConfig, datasets: Sequence[str]) -> list[str]:
    if unknown := [name for name in datasets if name not in config.data]:
        raise ConfigurationError(
            f"There is no data set '{unknown[0]}'; name one of {', '.join(config.data)}, or the path of a folder "
            "(./NAME)."
        )
    names = list(dict.fromkeys(datasets)) or [name for name, source in config.data.items() if source.uri]
    if not names:
        raise ConfigurationError(
            "No data set has a `uri`, so there is nothing to check; name a folder, or give --config FILE.yaml "
            "(docs/data.md)."
        )
    for name in names:
        if not config.data[name].uri:
            raise ConfigurationError(f"The data set '{name}' has no `uri`; set data.{name}.uri to its folder.")
    return names


def _guessed(folders: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """(the configuration of a run on these folders, that of the folders that cannot be read: no run can use them)."""
    found = [_overrides(name, folder) for name, folder in folders.items()]
    guessed = [line for lines in found if len(lines) > 1 for line in lines]
    if own := [task[1] for line in guessed if (task := re.match(r"tasks\.([^=]+)=", line))]:
        guessed.append(f"transfer.tasks=[{', '.join(own)}]")
    return guessed, [line for lines in found if len(lines) == 1 for line in lines]


def _overrides(name: str, place: str) -> list[str]:
    """The configuration of a folder (a path or URI): its layout, and a task for each label. Only the first if the
    folder cannot be read; why is said when it is examined."""
    from comface.config.reading import override
    from comface.datasets import survey_dataset
    from comface.datasets.config import DataSource
    from comface.datasets.recognized import layout_in

    uri = place if "://" in place else str(Path(place).expanduser().absolute())
    source = {"layout": "pairs", "uri": uri}
    try:
        source["layout"] = layout_in(uri)
        data = survey_dataset(DataSource.model_validate(source), quick=True)
    except ComfaceError:
        return [override(f"data.{name}", source)]
    lines = [override(f"data.{name}", source)]
    for number, label in enumerate(data.labels, 1):
        task = re.sub(r"[^a-z0-9_-]+", "-", f"{name}-{label}".casefold()).strip("-_")[:63]
        if any(line.startswith(f"tasks.{task}=") for line in lines):
            task = f"{task[:59]}-{number}"
        unit = data.units.get(label) or {"weight": "kg", "age": "years"}.get(label) or "points"
        fields = {
            "title": f"{label} ({name})"[:120],
            "dataset": name,
            "label": re.sub(r"[/\\]", " ", label),
            "unit": unit,
        }
        lines.append(override(f"tasks.{task}", {**fields, "direction_accuracy": True}))
    return lines


def _configuration_problems(config: RunConfig, examined: Sequence[Examined]) -> list[ComfaceError]:
    from comface.plan.checks import check_configuration
    from comface.plan.study import unread

    found: list[ComfaceError] = [error for one in examined if (error := unread(config, one))]
    try:
        check_configuration(config)
    except ConfigurationError as error:
        found.extend(error.problems)
    return found


def _page(examined: Sequence[Examined], problems: Sequence[ComfaceError], guessed: Sequence[str]) -> Iterator[str]:
    for one in examined:
        yield from _described(one)
        yield ""
    if guessed:
        yield from ["The configuration of a run on this folder (save it as study.yaml):", "", *_yaml(guessed), ""]
    if not problems:
        yield "Nothing is wrong: a run accepts " + ("this data set." if len(examined) == 1 else "these data sets.")
        return
    yield "1 problem:" if len(problems) == 1 else f"{len(problems)} problems:"
    for number, problem in enumerate(problems, start=1):
        yield f"  {number}. {problem}"


def _yaml(overrides: Sequence[str]) -> list[str]:
    import yaml

    text = yaml.safe_dump(_nested(overrides), sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)
    return [f"  {line}" for line in text.splitlines()]


def _nested(overrides: Sequence[str]) -> dict[str, Any]:
    from comface.config.reading import merge, read_override

    values: dict[str, Any] = {}
    for line in overrides:
        parts, nested = read_override(line)
        for part in reversed(parts):
            nested = {part: nested}
        merge(values, nested)
    return values


def _described(one: Examined) -> Iterator[str]:
    yield f"{one.name} (layout {one.source.layout}, {one.source.uri})"
    if one.data is None:
        yield "  nothing could be read"
        return
    sessions = f", {one.sessions:,} sessions" if one.sessions else ""
    yield f"  found       {one.people:,} subjects{sessions}, {len(one.photos):,} photos"
    for label, (count, low, high) in one.label_ranges().items():
        yield f"  label       {label}: {count:,} photos, {low:g} to {high:g}"
    for task, found in one.tasks.items():
        yield f"  task        {task}: {found.people:,} subjects, {found.pairs:,} pairs ({found.unit})"
    for what, meaning in one.data.taken.items():
        yield f"  read as     {what} → {meaning}"
    for sentence in one.data.assumed:
        yield f"  assumed     {sentence}"
    for reason, count in sorted(one.data.left_out.items()):
        yield f"  left out    {reason} ({count:,}){_listed(one.data.places.get(reason, ()))}"
    if one.faces:
        which = "all photos" if one.faces.everywhere else "a sample; --faces looks at all"
        yield f"  faces       {one.faces.found:,} of {one.faces.looked_at:,} photos have a usable face ({which})"
        for reason, places in one.faces.missed.items():
            yield f"  no face     {reason} ({len(places):,}){_listed(places)}"
    for remark in (*one.data.remarks, *one.warnings):
        yield f"  note        {remark}"


def _listed(places: Sequence[str]) -> str:
    if not places:
        return ""
    more = f" and {len(places) - MOST_PLACES:,} more" if len(places) > MOST_PLACES else ""
    return f": {', '.join(places[:MOST_PLACES])}{more}"


def _as_json(one: Examined) -> dict[str, Any]:
    known = one.data
    return {
        "name": one.name,
        "layout": one.source.layout,
        "uri": one.source.uri,
        "subjects": one.people,
        "sessions": one.sessions,
        "photos": len(one.photos),
        "labels": {
            label: {"photos": count, "low": low, "high": high}
            for label, (count, low, high) in one.label_ranges().items()
        },
        "tasks": {
            task: {"label": found.label, "unit": found.unit, "subjects": found.people, "pairs": found.pairs}
            for task, found in one.tasks.items()
        },
        "read_as": dict(known.taken) if known else {},
        "assumed": list(known.assumed) if known else [],
        "left_out": {}
        if known is None
        else {
            reason: {"count": count, "places": list(known.places.get(reason, ()))}
            for reason, count in known.left_out.items()
        },
        "faces": {
            "looked_at": one.faces.looked_at,
            "found": one.faces.found,
            "missed": {reason: list(places) for reason, places in one.faces.missed.items()},
        }
        if one.faces
        else None,
        "notes": [*(known.remarks if known else ()), *one.warnings],
        "problems": [str(each) for each in one.problems],
    }
