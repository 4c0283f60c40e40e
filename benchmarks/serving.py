"""Measures `comface serve` under load, beside the plain loop that compares one pair after another in one process.

    python benchmarks/serving.py                      # the default model, ResNet-18 and ResNet-50, on all CPUs
    python benchmarks/serving.py --models narrow --rounds 3

In: models (NARROW's default is the model that `comface serve` would serve; resnet18 and resnet50 have random weights in
the package's format, at 224 px). Out: one JSON line per model and measurement:

- `loop`: `compare_with` of models/compare.py on files, with PyTorch's default number of threads: pairs/s and seconds;
- `alone`: the service with one client, one request at a time (closed loop): p50, p99, pairs/s;
- `full`: the service with as many clients as keep it busy (closed loop);
- `arrivals`: requests at random times at 70 % of that rate (open loop): latency from the planned start;
- `overload`: three times that rate: answers by status, p99 of the answers with 200, and the time until one client is
  served as before.

Loop and service run in turn, round by round, so that a slow moment of the machine hits both; medians over the rounds.
CPU time per pair is given too, because other work on the machine changes it least.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PHOTO = ROOT / "tests" / "data" / "astronaut.jpg"
RANDOM = {"narrow-random": ("narrow", 48, 128), "resnet18": ("resnet18", 224, 224), "resnet50": ("resnet50", 224, 224)}
"""Name → backbone, input size in pixels, size of the aligned face."""
CARD = "# Model card: random\n\nRandom weights, for measurements. Its estimates mean nothing.\n"


def write_random_model(folder: Path, name: str) -> str:
    """Publish a `model` artifact with random weights in a new store; returns its URI."""
    import safetensors.numpy
    import safetensors.torch
    import torch

    from comface.artifacts.manifest import Draft
    from comface.faces.framing import FRAMING
    from comface.faces.preprocessing import TO_UNIT_RANGE
    from comface.networks.backbones import build_backbone
    from comface.store import FileStore

    backbone, size_px, aligned_px = RANDOM[name]
    torch.manual_seed(0)
    network, width = build_backbone(backbone, size_px)
    rng = np.random.default_rng(0)
    draft = Draft(FileStore(folder), "model", {"random": name}, {}, {})
    state = {f"backbone.{key}": value.contiguous() for key, value in network.state_dict().items()}
    draft.write("model.safetensors", safetensors.torch.save(state))
    tasks = {}
    for task, unit in (("smile", "smile score (logit)"), ("edema-a", "kg"), ("age", "years")):
        head = {
            "mean": np.zeros(width, np.float32), "scale": np.ones(width, np.float32),
            "weight": rng.normal(size=width, scale=0.1).astype(np.float32), "bias": np.zeros(1, np.float32),
            "antisymmetric": np.zeros(1, np.uint8),
        }  # fmt: skip
        draft.write(f"heads/{task}.safetensors", safetensors.numpy.save(head))
        tasks[task] = {
            "unit": unit, "dataset": "none", "rehearsal": True, "corr": 0.5, "mae": 1.0, "subjects": 40, "pairs": 400,
            "coverage": 0.9, "interval": {"constant": 0.05 if task == "smile" else 2.0},
        }  # fmt: skip
    draft.write_json("heads.json", tasks)
    draft.write_json(
        "preprocessing.json",
        {"size_px": size_px, "view_share": 0.75, "square": None, "channels": "RGB", "mean": list(TO_UNIT_RANGE),
         "std": list(TO_UNIT_RANGE), "framing": FRAMING, "aligned_px": aligned_px, "mirrored": True},
    )  # fmt: skip
    draft.write_json("config.json", {"pretrain": {"backbone": backbone}, "register": {}})
    draft.write("card.md", CARD.encode())
    return draft.publish({"name": name, "tasks": tasks, "metrics": []}).uri


def pair() -> tuple[bytes, bytes]:
    """Two photos of one person: the astronaut, and the same darker, smaller and turned by three degrees."""
    import io

    from PIL import Image, ImageEnhance

    after = Image.open(PHOTO).convert("RGB").rotate(3, Image.Resampling.BICUBIC).resize((180, 180))
    buffer = io.BytesIO()
    ImageEnhance.Brightness(after).enhance(0.85).save(buffer, "JPEG", quality=90)
    return PHOTO.read_bytes(), buffer.getvalue()


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


def cpu_s(process: int) -> float:
    """CPU time that a process and its children have used: the measure that other work on the machine changes least."""
    ticks = 0
    for stat in [Path(f"/proc/{process}/stat"), *(Path(f"/proc/{child}/stat") for child in children(process))]:
        words = stat.read_text().rpartition(")")[2].split()
        ticks += int(words[11]) + int(words[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def children(process: int) -> list[int]:
    lists = Path(f"/proc/{process}/task").glob("*/children")
    return [int(number) for each in lists for number in each.read_text().split()]


class Loop:
    """The plain loop, in a process of its own that waits between rounds."""

    def __init__(self, store: str, reference: str, folder: Path) -> None:
        paths = []
        for name, data in zip(("before.jpg", "after.jpg"), pair(), strict=True):
            paths.append(folder / name)
            paths[-1].write_bytes(data)
        environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", LOOP, store, reference, *map(str, paths)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, env=environment,
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


class Served:
    """`comface serve` in a process of its own, ready."""

    def __init__(self, store: str, reference: str, port: int, *options: str) -> None:
        words = ["serve", "--store", store, "--port", str(port), *(["--model", reference] if reference else [])]
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen([sys.executable, "-m", "comface", *words, *options], stderr=subprocess.DEVNULL)
        until = time.monotonic() + 180
        while time.monotonic() < until and self.process.poll() is None:
            try:
                if httpx.get(f"{self.url}/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise SystemExit("the service did not become ready")

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
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
    files = [("photos", ("a.jpg", data, "image/jpeg")) for data in pair_once()]
    try:
        status = (await client.post("/v1/compare", files=files)).status_code
    except httpx.TransportError:
        status = 0
    answers.add(status, time.perf_counter() - planned)
    return status


_PAIR: list[tuple[bytes, bytes]] = []


def pair_once() -> tuple[bytes, bytes]:
    if not _PAIR:
        _PAIR.append(pair())
    return _PAIR[0]


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


def measure(name: str, store: str, reference: str, options: argparse.Namespace, folder: Path) -> None:
    served, loop = Served(store, reference, options.port), Loop(store, reference, folder)
    seconds, clients = options.seconds, 2 * (os.cpu_count() or 1)
    rounds: dict[str, list[tuple[list[float], float]]] = {"loop": [], "alone": [], "full": []}
    used_s = dict.fromkeys(rounds, 0.0)
    try:
        asyncio.run(closed(served.url, clients, 2))
        for _ in range(options.rounds):
            for kind in rounds:
                process = (loop if kind == "loop" else served).process.pid
                began, used_s[kind] = time.perf_counter(), used_s[kind] - cpu_s(process)
                if kind == "loop":
                    found = loop.seconds(seconds)
                else:
                    found = asyncio.run(closed(served.url, 1 if kind == "alone" else clients, seconds)).good()
                rounds[kind].append((found, time.perf_counter() - began))
                used_s[kind] += cpu_s(process)
        middle = {}
        for kind, each in rounds.items():
            of_rounds = [figures(found, elapsed_s) for found, elapsed_s in each]
            pooled = figures([one for found, _ in each for one in found], sum(elapsed_s for _, elapsed_s in each))
            middle[kind] = statistics.median(one["pairs_per_s"] for one in of_rounds)
            say(name, kind, **pooled, cpu_ms_per_pair=round(1000 * used_s[kind] / max(1, pooled["pairs"]), 1))
        ratios = [
            {kind: len(rounds[kind][i][0]) / rounds[kind][i][1] for kind in rounds} for i in range(options.rounds)
        ]
        say(
            name, "ratio",
            alone_by_loop=round(statistics.median(each["alone"] / each["loop"] for each in ratios), 2),
            full_by_loop=round(statistics.median(each["full"] / each["loop"] for each in ratios), 2),
        )  # fmt: skip
        rate = 0.7 * middle["full"]
        open_loop = asyncio.run(arrivals(served.url, rate, 2 * seconds))
        say(name, "arrivals", asked_per_s=round(rate, 2), **figures(open_loop.good(), 2 * seconds))
        overload(name, served, 3 * middle["full"], 2 * seconds)
    finally:
        loop.end()
        served.end()


def overload(name: str, served: Served, rate: float, duration_s: float) -> None:
    before = statistics.median(asyncio.run(closed(served.url, 1, 2)).good())
    flooded = asyncio.run(arrivals(served.url, rate, duration_s))
    began = time.perf_counter()
    while not (found := asyncio.run(closed(served.url, 1, 0.01)).good()) or found[0] > 1.5 * before:
        if time.perf_counter() - began > 30:
            break
    say(
        name, "overload", asked_per_s=round(rate, 2), answers=flooded.counts(),
        recovered_after_s=round(time.perf_counter() - began, 2), **figures(flooded.good(), duration_s),
    )  # fmt: skip


def say(model: str, measurement: str, **values: Any) -> None:
    print(json.dumps({"model": model, "measurement": measurement, **values}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=["default", "resnet18", "resnet50"])
    parser.add_argument("--store", default="runs/laptop/store", help="where the default model is looked for")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0, help="length of one measurement")
    parser.add_argument("--port", type=int, default=8765)
    options = parser.parse_args()
    say("all", "machine", cpus=len(os.sched_getaffinity(0)), load=round(os.getloadavg()[0], 2))
    with tempfile.TemporaryDirectory() as folder:
        for name in options.models:
            place = Path(folder) / name
            place.mkdir()
            if name in RANDOM:
                measure(name, str(place / "store"), write_random_model(place / "store", name), options, place)
            else:
                measure(name, options.store, "" if name == "default" else name, options, place)


if __name__ == "__main__":
    main()
