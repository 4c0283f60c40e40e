"""What was wrong, from the end of a training process's log: the cause, in one line, and not torchrun's frame around it.

In: text. Out: one line; empty where there is none. A process that ends by itself says so in Python; one that C++ or
the kernel ends says `what():`, or nothing at all, and then torchrun's frame knows its signal.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator

LONGEST = 500
OURS = re.compile(r"error in \w+: (.+)")
LINE = re.compile(r"(?:\[(?:rank|default)(?P<rank>\d+)\]: ?)?(?P<text>.*)")
"""torch and torchrun write in front of a line whose it is."""
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
"""Lines that torchrun prints around any failure."""
FIRST = (
    re.compile(
        r"Root Cause \(first observed failure\):.+?rank *: (?P<rank>\d+).+?exitcode *: (?P<code>-?\d+)", re.DOTALL
    ),
    re.compile(r"failed \(exitcode: (?P<code>-?\d+)\) local_rank: (?P<rank>\d+)"),
)
HINTS = {
    "SIGKILL": "as when the memory of its pod or machine is used up: raise pretrain.job.memory_gib",
    "SIGBUS": "as when /dev/shm is full: raise pretrain.job.shared_memory_gib",
}


def last_error(log: str) -> str:
    """The line of a log that says what was wrong. Our own sentence, if there is one. Where a signal ended the process
    that failed first: what C++ or the driver said, and the signal. Else its last exception, or anybody's; else the last
    line that says anything."""
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
    """What an exit code (128 + signal of a container, or minus the signal of a process) tells of a signal, if any."""
    number = -code if code < 0 else code - 128
    try:
        name = signal.Signals(number).name
    except ValueError:
        return ""
    return f"ended by {name}{f' ({HINTS[name]})' if name in HINTS else ''}"


def _first_failure(log: str) -> tuple[str | None, int]:
    """Rank and exit code of the process that failed first, as torchrun has it."""
    for pattern in FIRST:
        if found := pattern.search(log):
            return found["rank"], int(found["code"])
    return None, 0


def _exceptions(log: str) -> Iterator[tuple[str | None, str]]:
    """(rank, last line) of every traceback, and every line that looks like one, but torchrun's own."""
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
    """What C++ and the driver said, the most telling first."""
    for pattern in NATIVE:
        for line in lines:
            if (found := pattern.search(line)) and not EXCEPTION.match(line):
                yield found[1]
