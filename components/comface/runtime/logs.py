"""Log output: its format on a terminal, in a file and in a pod, and which records are shown.

In: records of `logging.getLogger(__name__)` from any module of the package. Out: lines on stderr in one of three forms:

- on a terminal: the message; warnings and errors have a prefix;
- without a terminal: `2026-11-28T03:10:00Z INFO transfer au12/comface/linear: message`;
- in a pod, and between `comface run` and its steps: one JSON object per line, which `relay` parses.

A command calls `configure`. A notebook that imports the package does not, so nothing is shown there.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from comface.runtime.output import without_codes, write_line

PACKAGE = __name__.partition(".")[0]
LEVEL = "COMFACE_LOG"
"""The environment variable with the lowest level that a process logs, as JSON lines. `comface run` sets it for its
steps."""
ONE_OBJECT = re.compile(r'(?:\[\w+\]: ?)?(\{"time": .*\})\s*')
"""A JSON line; torchrun may add a prefix with the rank."""
HIDDEN = {"hidden": True}
"""`extra` of a record that only `copied_to` writes."""
FIELDS = ("step", "item", "run", "done", "total")

_where = {"step": "", "item": "", "run": ""}
"""Global, not per thread: a process runs one step at a time, and all its threads work for that step."""


def in_pod(environment: Mapping[str, str] = os.environ) -> bool:
    return "KUBERNETES_SERVICE_HOST" in environment


def configure(verbosity: int = 0, environment: Mapping[str, str] = os.environ) -> None:
    """Show the log lines of this process on stderr. `verbosity`: -1 errors only, 0 informational lines and warnings, 1
    also debug lines and warnings of libraries. A later call replaces an earlier one."""
    level = logging.DEBUG if verbosity > 0 else logging.INFO
    if not verbosity:
        level = logging.getLevelNamesMapping().get(environment.get(LEVEL, "").upper(), level)
    terminal = LEVEL not in environment and sys.stderr is not None and sys.stderr.isatty()
    form: logging.Formatter = Lines()
    if terminal:
        form = Plain(colours=not environment.get("NO_COLOR") and environment.get("TERM") != "dumb")
    elif LEVEL in environment or in_pod(environment):
        form = JsonLines()
    shown = Screen(terminal, libraries=verbosity > 0 or isinstance(form, JsonLines))
    shown.setFormatter(form)
    shown.setLevel(logging.ERROR if verbosity < 0 else level)
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if type(handler) in (Screen, logging.StreamHandler):  # KFP's executor adds one, for stdout
            root.removeHandler(handler)
    root.addHandler(shown)
    root.setLevel(logging.WARNING)
    logging.getLogger(PACKAGE).setLevel(level)
    logging.captureWarnings(True)


def for_children() -> dict[str, str]:
    """Environment variables for a child process whose output this one reads with `relay`."""
    return {LEVEL: logging.getLevelName(logging.getLogger(PACKAGE).getEffectiveLevel())}


def screen() -> Screen | None:
    """The handler that `configure` added; None before."""
    return next((handler for handler in logging.getLogger().handlers if isinstance(handler, Screen)), None)


def shows_bars() -> bool:
    """Whether to show progress bars: stderr is a terminal, and --quiet is not set."""
    found = screen()
    return found is not None and found.terminal and found.level <= logging.INFO


@contextlib.contextmanager
def labelled(step: str, item: str = "", run: str = "") -> Iterator[Callable[..., None]]:
    """Label all log lines within with this step, item of its loop and run; yields a function that changes the labels.
    Calls `configure` if no command has done so."""
    if screen() is None:
        configure()
    before = dict(_where)
    _where.update(step=step, item=item, run=run)
    try:
        yield _where.update
    finally:
        _where.update(before)


@contextlib.contextmanager
def copied_to(path: Path) -> Iterator[None]:
    """Also write the log lines of this process, including those of libraries, to the file `path`. Raises OSError if the
    file cannot be written."""
    handler = LogFile(path, mode="w", encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(Lines(full=True))
    handler.addFilter(_place)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        with contextlib.suppress(OSError):
            handler.close()


class LogFile(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        raise


class Screen(logging.Handler):
    """Writes to the current sys.stderr. `libraries`: also show records of other packages."""

    def __init__(self, terminal: bool, libraries: bool) -> None:
        super().__init__()
        self.terminal, self.libraries = terminal, libraries
        self.addFilter(_place)

    def filter(self, record: logging.LogRecord) -> Any:
        if hasattr(record, "hidden") or (self.terminal and hasattr(record, "on_the_bar")):
            return False
        return (self.libraries or _is_ours(record.name)) and super().filter(record)

    def emit(self, record: logging.LogRecord) -> None:
        tqdm = getattr(sys.modules.get("tqdm"), "tqdm", None) if self.terminal else None
        with tqdm.external_write_mode(file=sys.stderr) if tqdm else contextlib.nullcontext():
            write_line(self.format(record))


def _is_ours(name: str) -> bool:
    return name.partition(".")[0] == PACKAGE


def _place(record: logging.LogRecord) -> bool:
    """A filter that accepts every record and adds the step, item and run, unless a relayed record already has them."""
    if not hasattr(record, "step"):
        vars(record).update(_where)
    return True


def label(record: logging.LogRecord) -> str:
    return " ".join(word for word in (vars(record).get("step"), vars(record).get("item")) if word)


def _text(record: logging.LogRecord) -> str:
    return without_codes(record.getMessage()).rstrip()


def _traceback(record: logging.LogRecord, full: bool = False) -> str:
    """The record's traceback; empty for a brief record, whose traceback goes only to run.log."""
    if getattr(record, "brief", False) and not full:
        return ""
    if record.exc_info and not record.exc_text:
        record.exc_text = logging.Formatter().formatException(record.exc_info)
    return without_codes(record.exc_text or "")


def _time(record: logging.LogRecord, timespec: str) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec=timespec).replace("+00:00", "Z")


class Plain(logging.Formatter):
    """The format for a terminal. `lead` is the record's prefix: `comface run` indents the lines of its steps."""

    MARKS: ClassVar = {logging.WARNING: ("warning", "33"), logging.ERROR: ("error", "31")}

    def __init__(self, colours: bool = False) -> None:
        super().__init__()
        self.colours = colours

    def format(self, record: logging.LogRecord) -> str:
        level = logging.ERROR if record.levelno > logging.ERROR else record.levelno
        lead, mark = vars(record).get("lead", ""), ""
        if level in self.MARKS:
            word, colour = self.MARKS[level]
            mark = f"\x1b[{colour}m{word}\x1b[0m" if self.colours else word
            mark += f" in {where}: " if level == logging.ERROR and (where := label(record)) else ": "
        return "\n".join(part for part in (_traceback(record), f"{lead}{mark}{_text(record)}") if part)


class Lines(logging.Formatter):
    """The format for a file. Continuation lines are indented, so that each line with a time starts a record. `full`:
    include the tracebacks of brief records."""

    def __init__(self, full: bool = False) -> None:
        super().__init__()
        self.full = full

    def format(self, record: logging.LogRecord) -> str:
        where = label(record)
        head = f"{_time(record, 'seconds')} {record.levelname} {where}{':' if where else ''}"
        lines = "\n".join(part for part in (_text(record), _traceback(record, self.full)) if part).splitlines()
        return f"{head.rstrip()} " + "\n    ".join(lines)


class JsonLines(logging.Formatter):
    """The format for a log collector and for `relay`."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {name: value for name in FIELDS if (value := vars(record).get(name)) not in ("", None)}
        told = {
            "time": _time(record, "milliseconds"),
            "level": record.levelname,
            **fields,
            "message": _text(record),
            "logger": record.name,
        }
        if exception := _traceback(record, full=True):
            told["exception"] = exception
        return json.dumps(told, ensure_ascii=False)


def record_of(line: str) -> logging.LogRecord | None:
    """The record that another process of this package wrote as the JSON line `line`; None for any other text."""
    found = ONE_OBJECT.fullmatch(line.strip())
    try:
        told = json.loads(found[1]) if found else None
        if told is None:
            return None
        level = logging.getLevelNamesMapping()[told["level"]]
        at = datetime.fromisoformat(told["time"]).timestamp()
        values = {
            "name": str(told.get("logger", PACKAGE)), "levelname": told["level"], "levelno": level, "created": at,
            "msg": str(told["message"]), "args": (), "exc_text": str(told.get("exception") or ""),
            **dict.fromkeys(("step", "item", "run"), ""), **{name: told[name] for name in FIELDS if name in told},
        }  # fmt: skip
    except (ValueError, KeyError, TypeError):
        return None
    return logging.makeLogRecord(values)


def relay(line: str, source: logging.Logger, lead: str = "") -> None:
    """Log a line of another process: a JSON record with its own time, level and step; any other text as an info record
    of `source`. `lead` is put before the message."""
    record = record_of(line)
    if record is None:
        source.info("%s%s", lead, line)
        return
    record.msg = f"{lead}{record.msg}"
    if source.isEnabledFor(record.levelno):
        source.handle(record)


def readable(text: str) -> str:
    """The output of another process in the terminal format, each traceback before its message."""
    plain, lines = Plain(), []
    for line in text.splitlines():
        record = record_of(line)
        if record is None:
            lines.append(line)
        else:
            lines += plain.format(record).splitlines()
    return "\n".join(lines)
