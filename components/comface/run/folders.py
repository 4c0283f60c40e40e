"""The folders of runs: a numbered one for each run of a study; elsewhere, earlier results are set aside.

In: the name of a configuration file, and the configuration as text. Out: a folder. Nothing is overwritten, and no
result of another run stays where those of this run are expected.
"""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path

from comface.config.names import place_uri
from comface.errors import ConfigurationError
from comface.files import failure, make_private_folder, write_file
from comface.plan.configuration import RunConfig
from comface.store import FileStore, open_store

RUNS = Path("runs")
REPORT, CONFIGURATION = "report.html", "configuration.yaml"
RESULTS = (REPORT, "comparison.png", "run.log", "executor.log", CONFIGURATION)
EARLIER = "earlier"


def study_folder(name: str, configuration: str) -> Path:
    """The folder runs/NAME-N of a run: the newest one if it was interrupted with the same configuration, else a new
    one."""
    numbered = {
        int(found[1]): path
        for path in RUNS.glob("*")
        if (found := re.fullmatch(rf"{re.escape(name)}-(\d{{1,6}})", path.name))
    }
    newest = max(numbered, default=0)
    if newest and not (numbered[newest] / REPORT).exists() and _recorded(numbered[newest]) == configuration:
        return numbered[newest].absolute()
    return (RUNS / f"{name}-{newest + 1}").absolute()


def check_apart(folder: Path, config: RunConfig) -> None:
    """Raises ConfigurationError if the folder of the run is, contains or lies in the folder of a data set."""
    output = Path(os.path.realpath(folder))
    for name, source in config.data.items():
        if not place_uri(source.uri).startswith("file:"):
            continue
        place = open_store(source.uri)
        assert isinstance(place, FileStore)
        data = Path(os.path.realpath(place.root))
        if output.is_relative_to(data) or data.is_relative_to(output):
            raise ConfigurationError(
                f"The folder '{folder}' of --output is, contains or lies in the folder of the data set '{name}' "
                f"('{place.root}'); choose another --output."
            )


def begin(folder: Path, configuration: str) -> None:
    """Set aside the results of an earlier run, if it ended or had another configuration, and record this one."""
    ended = folder / REPORT
    try:
        if ended.exists() or _recorded(folder) not in ("", configuration):
            when = (ended if ended.exists() else folder / CONFIGURATION).stat().st_mtime
            aside = folder / EARLIER / datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
            make_private_folder(aside)
            for name in RESULTS:
                if (folder / name).exists():
                    (folder / name).rename(aside / name)
    except OSError as error:
        raise failure(error, f"an earlier result in '{folder}'") from None
    write_file(folder / CONFIGURATION, configuration.encode(), private=True)


def _recorded(folder: Path) -> str:
    try:
        return (folder / CONFIGURATION).read_text("utf-8")
    except OSError:
        return ""
