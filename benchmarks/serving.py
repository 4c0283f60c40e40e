"""Measures `comface serve` under load, beside the plain loop that compares one pair after another in one process.

    python benchmarks/serving.py                          # the shipped model, ResNet-18, ResNet-50: about 10 minutes
    python benchmarks/serving.py --models narrow-random --rounds 2 --seconds 2                            # a short form

In: models: what `comface serve --model` takes, or a name of RANDOM (random weights in the package's format). Out: one
JSON line per model and measurement, then a table in Markdown:

- `loop`: `compare_with` of models/compare.py on files, with PyTorch's default number of threads: pairs/s and seconds;
- `line`: the loop as a server of as many clients as `full` has: each waits for all that stand before it (computed from
  the times of `loop`, without any cost of HTTP);
- `alone`: the service with one client, one request at a time (closed loop): p50, p99, pairs/s;
- `full`: the service with as many clients as keep it busy (closed loop);
- `arrivals`: requests at random times at 70 % of that rate (open loop): latency from the planned start;
- `overload`: three times that rate: answers by status, share of 429 and 503, p99 of the answers with 200; then, from
  the end of the flood, the time until the first 200, and until a client is served about as fast as before.

Loop and service run in turn, round by round, so that a slow moment of the machine hits both; ratios are medians over
the rounds. CPU time per pair is given too, because other work on the machine changes it least.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "serve")]
from random_model import RANDOM, two_photos, write_random_model  # noqa: E402
from served import Served  # noqa: E402

RECOVERY_S = 60.0
"""Longest time that is waited for the service after a flood."""


LOOP = """
import sys, time, json
from comface.execution import set_threads_passive
set_threads_passive()  # as every command does: threads that spin would make a busy machine slower still
from pathlib import Path
from comface.models.compare import compare_with
from comface.models.estimator import load_estimator
from comface.models.references import resolve_model
from comface.store import open_store
store, reference, before, after = sys.argv[1:]
called, artifact = resolve_model(open_store(store), reference or None)
estimator = load_estimator(artifact)
photos = Path(before), Path(after)
compare_with(estimator, *photos, called)
print("ready", flush=True)
for line in sys.stdin:
    seconds, until = [], time.perf_counter() + float(line)
    while time.perf_counter() < until:
        began = time.perf_counter()
        compare_with(estimator, *photos, called)
        seconds.append(time.perf_counter() - began)
    print(json.dumps(seconds), flush=True)
"""


def cpu_s(processes: Iterable[int]) -> float:
    """CPU time that processes have used: the measure that other work on the machine changes least."""
    ticks = 0
    for process in processes:
        words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(words[11]) + int(words[12])
    return ticks / os.sysconf("SC_CLK_TCK")


class Loop:
    """The plain loop, in a process of its own that waits between rounds."""

    def __init__(self, store: str, reference: str, folder: Path) -> None:
        paths = []
        for name, data in zip(("before.jpg", "after.jpg"), two_photos(), strict=True):
            paths.append(folder / name)
            paths[-1].write_bytes(data)
        self.process = subprocess.Popen(
            [sys.executable, "-c", LOOP, store, reference, *map(str, paths)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def seconds(self, duration_s: float) -> list[float]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{duration_s}\n")
        self.process.stdin.flush()
        found: list[float] = json.loads(self.process.stdout.readline())
        return found

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


class Answers:
    """Status and latency of each request."""

    def __init__(self) -> None:
        self.seconds: dict[int, list[float]] = {}

    def add(self, status: int, seconds: float) -> None:
        self.seconds.setdefault(status, []).append(seconds)

    def good(self) -> list[float]:
        return self.seconds.get(200, [])

    def counts(self) -> dict[str, int]:
        return {str(status): len(each) for status, each in sorted(self.seconds.items())}


async def _ask(client: httpx.AsyncClient, answers: Answers, planned: float) -> int:
    files = [("photos", ("a.jpg", data, "image/jpeg")) for data in two_photos()]
    try:
        status = (await client.post("/v1/compare", files=files)).status_code
    except httpx.TransportError:
        status = 0
    answers.add(status, time.perf_counter() - planned)
    return status


async def closed(url: str, clients: int, duration_s: float) -> Answers:
    """Each client sends its next request when the last one is answered; after a refusal it waits as told."""
    answers, until = Answers(), time.perf_counter() + duration_s

    async def one(client: httpx.AsyncClient) -> None:
        while time.perf_counter() < until:
            if await _ask(client, answers, time.perf_counter()) in (429, 503):
                await asyncio.sleep(1)

    async with _client(url) as client:
        await asyncio.gather(*(one(client) for _ in range(clients)))
    return answers


async def arrivals(url: str, per_s: float, duration_s: float, seed: int = 0) -> Answers:
    """Requests start at random times (a Poisson process), whether earlier ones are answered or not."""
    rng, answers, at, tasks = random.Random(seed), Answers(), 0.0, []
    began = time.perf_counter()
    async with _client(url) as client:
        while (at := at + rng.expovariate(per_s)) < duration_s:
            await asyncio.sleep(max(0.0, began + at - time.perf_counter()))
            tasks.append(asyncio.create_task(_ask(client, answers, began + at)))
        await asyncio.gather(*tasks)
    return answers


def _client(url: str) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=200)
    return httpx.AsyncClient(base_url=url, timeout=60, limits=limits)


def figures(seconds: Sequence[float], elapsed_s: float) -> dict[str, float]:
    if not seconds:
        return {"pairs": 0}
    ordered = sorted(seconds)
    return {
        "p50_ms": round(1000 * statistics.median(ordered), 1),
        "p99_ms": round(1000 * ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], 1),
        "pairs_per_s": round(len(ordered) / elapsed_s, 2),
        "pairs": len(ordered),
    }


def line_of(seconds: Sequence[float], clients: int) -> list[float]:
    """Latencies of a loop that answers `clients` in turn: each waits for the pairs of all, its own included."""
    return [sum(seconds[last - clients : last]) for last in range(clients, len(seconds) + 1)]


def measure(name: str, reference: str, options: argparse.Namespace, folder: Path) -> None:
    served = Served.start(reference, folder, "--store", options.store).ready()
    loop, url = Loop(options.store, reference, folder), str(served.client.base_url)
    seconds, clients = options.seconds, 2 * len(os.sched_getaffinity(0))
    rounds: dict[str, list[tuple[list[float], float]]] = {"loop": [], "alone": [], "full": []}
    used_s = dict.fromkeys(rounds, 0.0)
    try:
        asyncio.run(closed(url, clients, 2))
        for _ in range(options.rounds):
            for kind in rounds:
                processes = [loop.process.pid] if kind == "loop" else served.processes()
                began, used_s[kind] = time.perf_counter(), used_s[kind] - cpu_s(processes)
                if kind == "loop":
                    found = loop.seconds(seconds)
                else:
                    found = asyncio.run(closed(url, 1 if kind == "alone" else clients, seconds)).good()
                rounds[kind].append((found, time.perf_counter() - began))
                used_s[kind] += cpu_s(processes)
        full_per_s = report(name, rounds, used_s, clients)
        open_loop = asyncio.run(arrivals(url, 0.7 * full_per_s, 2 * seconds))
        say(name, "arrivals", asked_per_s=round(0.7 * full_per_s, 2), **figures(open_loop.good(), 2 * seconds))
        asyncio.run(overload(name, url, 3 * full_per_s, 2 * seconds))
    finally:
        loop.end()
        served.stop()


def report(
    name: str, rounds: dict[str, list[tuple[list[float], float]]], used_s: dict[str, float], clients: int
) -> float:
    """Say what loop and service did in turn; returns the pairs per second of the busy service."""
    for kind, each in rounds.items():
        elapsed_s = sum(took_s for _, took_s in each)
        pooled = figures([one for found, _ in each for one in found], elapsed_s)
        say(name, kind, **pooled, cpu_ms_per_pair=round(1000 * used_s[kind] / max(1, pooled["pairs"]), 1))
        if kind == "loop":
            waits = [one for found, _ in each for one in line_of(found, clients)]
            say(name, "line", **{**figures(waits, elapsed_s), "pairs_per_s": pooled["pairs_per_s"]})
    rates = {kind: [len(found) / took_s for found, took_s in each] for kind, each in rounds.items()}
    for kind in ("alone", "full"):
        ratios = [mine / theirs for mine, theirs in zip(rates[kind], rates["loop"], strict=True) if theirs]
        say(name, f"{kind} by loop", ratio=round(statistics.median(ratios), 2), least=round(min(ratios), 2))
    return statistics.median(rates["full"])


async def overload(name: str, url: str, rate: float, duration_s: float) -> None:
    """Flood the service; from the end of the flood on, one more client asks until it is served as before."""
    before = statistics.median((await closed(url, 1, 2)).good())
    flood = asyncio.create_task(arrivals(url, rate, duration_s))
    await asyncio.sleep(duration_s)
    began, first_s, back_s = time.perf_counter(), None, None
    async with _client(url) as client:
        while back_s is None and time.perf_counter() - began < RECOVERY_S:
            asked = time.perf_counter()
            if await _ask(client, Answers(), asked) == 200:
                now = time.perf_counter()
                first_s = first_s or round(now - began, 2)
                back_s = round(now - began, 2) if now - asked < 1.5 * before else None
            else:
                await asyncio.sleep(0.1)
    counts = (flooded := await flood).counts()
    refused = sum(counts.get(status, 0) for status in ("429", "503")) / max(1, sum(counts.values()))
    say(
        name, "overload", asked_per_s=round(rate, 2), answers=counts, refused_share=round(refused, 3),
        first_200_after_s=first_s, as_before_after_s=back_s, **figures(flooded.good(), duration_s),
    )  # fmt: skip


_SAID: list[dict[str, Any]] = []


def say(model: str, measurement: str, **values: Any) -> None:
    _SAID.append({"model": model, "measurement": measurement, **values})
    print(json.dumps(_SAID[-1]), flush=True)


def table() -> str:
    """The figures of all models, for docs/serving.md."""
    columns = ("model", "measurement", "p50_ms", "p99_ms", "pairs_per_s", "cpu_ms_per_pair")
    rows = [columns, ["---"] * len(columns)]
    rows += [[str(each.get(column, "")) for column in columns] for each in _SAID if "p50_ms" in each]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=["shipped", "resnet18", "resnet50"])
    parser.add_argument("--store", help="where other models are looked for by name")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0, help="length of one measurement")
    options = parser.parse_args()
    os.environ.pop("OMP_NUM_THREADS", None)  # all cores, for loop and service
    say("all", "machine", cpus=len(os.sched_getaffinity(0)), load=round(os.getloadavg()[0], 2))
    with tempfile.TemporaryDirectory() as folder:
        if options.store is None or "://" not in options.store:
            options.store = str(Path(options.store or folder).resolve())
        for name in options.models:
            place = Path(folder) / name.replace("/", "_")
            place.mkdir()
            measure(name, write_random_model(place / "store", name) if name in RANDOM else name, options, place)
    print(f"\n{table()}")


if __name__ == "__main__":
    main()
