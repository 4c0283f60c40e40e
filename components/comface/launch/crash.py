"""The cause of a crash in one line, from the end of a training process's log, without torchrun's own lines.

In: text. Out: one line; empty if there is none. An error in Python leaves a traceback. A process that C++ or the kernel
ends leaves `what():` or nothing; then torchrun's lines name its signal.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator

from comface.runtime.logs import readable

LONGEST = 500
OURS = re.compile(r"error in [^:]+: (.+)")
LINE = re.compile(r"(?:\[(?:rank|default)(?P<rank>\d+)\]: ?)?(?P<text>.*)")
"""torch and torchrun prefix a line with its rank."""
EXCEPTION = re.compile(r"(?:\w+\.)*\w*(?:Error|Exception|Interrupt)\b: .+")
NATIVE = (
    re.compile(r"\bwhat\(\): +(.+)"),
    re.compile(r"(Fatal Python error: .+)"),
    re.compile(r"(Watchdog caught collective operation timeout: .+)"),
    re.compile(r"NCCL (?:WARN|ERROR) (.+)"),
    re.compile(r"((?:CUDA|NCCL|CUBLAS|cuDNN) (?:error|Error)\b.*)"),
)
FRAME = re.compile(r"ChildFailedError|^[=\-*]{5,}$|^<.*>$|^(?:Failures|Root Cause \(.*\)|\[\d+\]):$|^\S+ FAILED$"
                   r"|^(?:time|host|rank|exitcode|error_file|traceback) *:|torch/distributed/elastic")  # fmt: skip
"""Lines that torchrun prints for every failure."""
FIRST = (
    re.compile(
        r"Root Cause \(first observed failure\):.+?rank *: (?P<rank>\d+).+?exitcode *: (?P<code>-?\d+)", re.DOTALL
    ),
    re.compile(r"failed \(exitcode: (?P<code>-?\d+)\) local_rank: (?P<rank>\d+)"),
)
HINTS = {
    "SIGKILL": "for example because memory ran out: raise pretrain.job.memory_gib",
    "SIGBUS": "for example because /dev/shm is full: raise pretrain.job.shared_memory_gib",
}


def last_error(log: str) -> str:
    """The line of a log that names the cause: our own message, if there is one. If a signal ended the process that
    failed first: the message of C++ or the driver, and the signal. Otherwise the last exception of that process or of
    any other; otherwise the last line that is not torchrun's."""
    log = readable(log)
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    for line in reversed(lines):
        if found := OURS.search(line):
            return found[1][:LONGEST]
    rank, code = _first_failure(log)
    raised, native, ended = list(_exceptions(log)), next(_native(lines), ""), signal_in(code)
    own = [line for owner, line in raised if rank is not None and owner == rank]
    if ended and native:
        return f"{native[:LONGEST]} ({ended})"
    if ended and not own:
        return ended
    if found_line := next(iter([*own[-1:], *(line for _, line in raised[-1:]), native]), ""):
        return found_line[:LONGEST]
    said = [line for line in lines if not FRAME.search(line)]
    return f"a process ended with exit code {code}" if code else "".join(said[-1:])[:LONGEST]


def signal_in(code: int) -> str:
    """The signal of an exit code (128 + signal of a container, or minus the signal of a process), if there is one."""
    number = -code if code < 0 else code - 128
    try:
        name = signal.Signals(number).name
    except ValueError:
        return ""
    return f"ended by {name}{f' ({HINTS[name]})' if name in HINTS else ''}"


def _first_failure(log: str) -> tuple[str | None, int]:
    """Rank and exit code of the process that failed first, according to torchrun."""
    for pattern in FIRST:
        if found := pattern.search(log):
            return found["rank"], int(found["code"])
    return None, 0


def _exceptions(log: str) -> Iterator[tuple[str | None, str]]:
    """(rank, last line) of every traceback, and every line that looks like one, except torchrun's own."""
    inside = False
    for line in log.splitlines():
        found = LINE.match(line)
        assert found is not None  # it matches anything
        rank, text = found["rank"], found["text"].rstrip()
        if "Traceback (most recent call last)" in text:
            inside = True
        elif text:
            ends = inside and not text[0].isspace()
            if (ends or EXCEPTION.fullmatch(text)) and "ChildFailedError" not in text:
                yield rank, text
            inside = inside and not ends


def _native(lines: list[str]) -> Iterator[str]:
    """Messages of C++ and the driver, the most specific first."""
    for pattern in NATIVE:
        for line in lines:
            if (found := pattern.search(line)) and not EXCEPTION.match(line):
                yield found[1]
