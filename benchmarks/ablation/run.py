"""The ablation of table 7 with three reference methods, on the synthetic faces of a profile (hours; `make ablation`).

    python benchmarks/ablation/run.py [--seeds 0 1 2] [--variants inter signed …] [--set FIELD=VALUE] [--quick]

In: a profile (laptop). Out: tables on stdout, and ablation.md, ablation.csv, ablation.json in runs/ablation. All
results are artifacts in the store (default: the store of `make run`). Existing artifacts are reused; an interrupted run
resumes.

- **Matched views.** A step passes two views of a pair through the backbone with one loss, three with both losses.
  Therefore a variant with one loss gets 3/2 of the steps (rounded): equal views, equal epochs, more pairs.
- **Seed.** A seed is used for pre-training (weights, batches, views) and evaluation (pairs, folds, random features).
  Within a seed, all rows use the same photos, pairs and folds. Synthetic faces and photos are the same for all seeds.
- **Linear evaluation.** The paper's table 7 reports fine-tuning. Its rows (a), (b), (c) and (e) use the absolute
  change. The row with the settings of the profile is marked.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import multiprocessing
import os
import platform
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from comface.artifacts.manifest import open_artifact
from comface.errors import ComfaceError
from comface.plan.configuration import RunConfig, resolve
from comface.plan.missing import missing_models, without_missing
from comface.plan.step import Plans, make_plans
from comface.pretrain.from_plan import pretrain_backbone
from comface.runtime.output import say
from comface.shard.from_plan import shard_tracks
from comface.store import FileStore, open_store
from comface.synthesize.from_plan import synthesize_part
from comface.tasks.predictions import read_predictions
from comface.tasks.registry import title
from comface.transfer.from_plan import align_faces, completed, transfer_item


class Row(NamedTuple):
    """`learning`: losses, target, curriculum (None: no pre-training). `paper`: results of table 7 in the order of
    PAPER."""

    name: str
    learning: tuple[str, str, bool] | None = None
    paper: tuple[float, ...] = ()


PAPER = (("au6", "corr"), ("au12", "corr"), ("edema-a", "acc"), ("edema-b", "acc"), ("age", "corr"))
ROWS = {
    "inter": Row("(a) inter only", ("inter", "absolute", True), (0.593, 0.829, 0.795, 0.890, 0.782)),
    "intra": Row("(b) intra only", ("intra", "absolute", True), (0.660, 0.833, 0.870, 0.931, 0.861)),
    "absolute": Row("(c) both, absolute change", ("both", "absolute", True), (0.663, 0.831, 0.886, 0.963, 0.870)),
    "signed": Row("(d) both, signed change", ("both", "signed", True), (0.662, 0.818, 0.828, 0.910, 0.830)),
    "no-curriculum": Row("(e) no curriculum", ("both", "absolute", False), (0.659, 0.821, 0.880, 0.949, 0.856)),
    "scratch": Row("random features"),
    "pixels": Row("pixels 12×12"),
    "imagenet": Row("ImageNet"),
}
METHODS = ("comface", "scratch", "pixels", "imagenet")
VIEWS = {"inter": 2, "intra": 2, "both": 3}
METRICS = {"corr": "Pearson correlation", "acc": "Accuracy of direction, %", "mae": "Mean absolute error"}
QUICK = (
    "synthesize.composition=[{generator: procedural, identities: 24, attributes: [smile, weight]}]",
    "synthesize.alpha_step=2.5", "pretrain.pairs_per_step=8", "pretrain.steps_per_epoch=2", "pretrain.epochs=2",
    "pretrain.curriculum_ends=[1, 2]", "rehearse.disfa_subjects=4", "rehearse.disfa_frames=20",
    "data.disfa.frames_per_subject=6", "rehearse.edema_a_patients=4", "rehearse.edema_sessions=1",
    "rehearse.edema_frames=1", "transfer.tasks=[au12, edema-a]", "transfer.pairs_per_subject=20",
    "transfer.validation_turns=1",
)  # fmt: skip


def main() -> None:
    options = parsed()
    os.environ["OMP_NUM_THREADS"] = "1"  # one thread per process, one process per core; read when a process starts
    started = time.monotonic()
    plans, config, notes = planned(options, f"transfer.methods=[{', '.join(METHODS)}]")
    for note in notes:
        say(note)
    learned = [name for name in options.variants if ROWS[name].learning]
    fixed = [name for name in options.variants if name in config.transfer.methods and name not in learned]
    with ProcessPoolExecutor(options.workers, multiprocessing.get_context("spawn"), begin) as pool:
        run = partial(side_by_side, pool, options)
        parts = {f"synthesize-{n}": partial(synthesize_part, plans.synthesize.text, n) for n in plans.parts}
        datasets = {f"align-{plan.dataset}": partial(align_faces, plan.text) for plan in plans.datasets}
        made = run(parts | datasets)
        shards = run({"shard": partial(shard_tracks, plans.shard.text, [made[name] for name in parts])})["shard"]
        faces = [made[name] for name in datasets]
        full_epoch = open_artifact(shards).facts["train"]["images"] // config.pretrain.pairs_per_step
        steps = config.pretrain.steps_per_epoch or full_epoch
        jobs: dict[str, Callable[[str], Any]] = {}
        for seed in options.seeds:
            for name in learned:
                plan = planned(options, *of_row(name, seed, steps))[0]
                jobs[f"{name}-seed-{seed}"] = partial(measure, name, shards, faces, {seed: plan})
        for name in fixed:  # one job for all seeds, which share features
            cells = {seed: planned(options, *of_row(name, seed, steps))[0] for seed in options.seeds}
            jobs[name] = partial(measure, name, "", faces, cells)
        results = [result for found in run(jobs).values() for result in found]
    text = report(options, config, steps, results)
    publish(options, steps, results, text)
    print(text)
    say(f"{(time.monotonic() - started) / 60:.1f} minutes; tables and plots are in {options.results}")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="laptop", metavar="NAME", help="base of the configuration")
    parser.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="FIELD=VALUE", help="override one field"
    )
    parser.add_argument("--store", metavar="URI", help="object store for artifacts (default: runs/PROFILE/store)")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="N", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--variants", nargs="+", choices=ROWS, default=list(ROWS), help="rows (default: all)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    parser.add_argument("--results", type=Path, metavar="DIR", help="output folder (default: runs/ablation)")
    parser.add_argument("--quick", action="store_true", help="a tiny run that tests the script")
    options = parser.parse_args()
    options.results = (options.results or Path("runs/ablation-quick" if options.quick else "runs/ablation")).absolute()
    if options.quick:
        options.overrides = [*QUICK, *options.overrides]
        options.store = options.store or (options.results / "store").as_uri()
    options.store = options.store or (Path("runs") / options.profile / "store").absolute().as_uri()
    return options


def planned(options: argparse.Namespace, *more: str) -> tuple[Plans, RunConfig, list[str]]:
    """Return plans, configuration and notes with further overrides. Methods that cannot run here are omitted and
    noted."""
    chosen = [*options.overrides, "transfer.modes=[linear]", *more]
    config = resolve(options.profile, chosen, {"store": options.store})
    config, notes = without_missing(config, missing_models())
    return make_plans(config, ""), config, notes


def of_row(name: str, seed: int, steps: int) -> list[str]:
    """Return the overrides of a row. `steps`: steps per epoch with both losses."""
    losses, target, curriculum = ROWS[name].learning or ("both", "absolute", True)
    return [
        f"transfer.seed={seed}", f"transfer.methods=[{'comface' if ROWS[name].learning else name}]",
        f"pretrain.seed={seed}", f"pretrain.learning={losses}", f"pretrain.target={target}",
        f"pretrain.curriculum={str(curriculum).lower()}",
        f"pretrain.steps_per_epoch={round(steps * VIEWS['both'] / VIEWS[losses])}",
    ]  # fmt: skip


def measure(name: str, shards: str, faces: list[str], plans: Mapping[int, Plans], page: str) -> list[dict[str, Any]]:
    """Pre-train (where there are shards) and evaluate on every task, per seed: one record per task."""
    results = []
    for seed, each in plans.items():
        backbone = pretrain_backbone(each.pretrain.text, shards, page)[0] if shards else ""
        aligned = [open_artifact(reference, "faces") for reference in faces]
        for item in completed(open_store(each.items[0].store), each.items, aligned, backbone):
            uri = transfer_item(item.text)
            read = read_predictions(open_artifact(uri))
            kept = read.facts.model_dump(include={"task", "rehearsal", "unit", "subjects", "pairs"})
            results.append({"variant": name, "seed": seed, **kept, **read.metrics, "uri": uri})
    return results


def side_by_side(pool: ProcessPoolExecutor, options: argparse.Namespace, jobs: Mapping[str, Any]) -> dict[str, Any]:
    """The value of every job. At most as many as there are workers at once: one that waits inside the pool could not be
    taken back. Raises SystemExit with the code of a job that fails, when those beside it have ended."""
    todo, values, running = list(jobs), dict[str, Any](), dict[Future[Any], tuple[str, Path]]()
    started = time.monotonic()
    while todo or running:
        while todo and len(running) < options.workers:
            name = todo.pop(0)
            log = options.results / "logs" / f"{name}.log"
            log.parent.mkdir(parents=True, exist_ok=True)
            log.touch()
            running[pool.submit(logged, log, jobs[name])] = name, log
        done, _ = wait(running, timeout=60, return_when=FIRST_COMPLETED)
        for future in done or running:
            name, log = running[future]
            last = (log.read_text().splitlines() or ["starts"])[-1]
            if future not in done or future.exception():
                say(f"{name} failed: {last} (all of it: {log})" if future in done else f"  {name}: {last}")
        for future in done:
            name, _ = running.pop(future)
            values[name] = future.result()
            passed_min = (time.monotonic() - started) / 60
            left_min = passed_min / len(values) * (len(jobs) - len(values))
            say(f"[{len(values)}/{len(jobs)}] {name}: done at {passed_min:.1f} min, about {left_min:.0f} min left")
    return values


def begin() -> None:
    """In a worker, once: only a job listens to Ctrl-C; a worker whose parent was killed ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        if (parent := multiprocessing.parent_process()) is not None:
            parent.join()
        os._exit(143)

    threading.Thread(target=watch, daemon=True).start()


def logged(log: Path, job: Callable[[str], Any]) -> Any:
    """In a worker: progress goes to a file, a picture beside it; Ctrl-C ends the job so that it can resume."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with log.open("a") as file, contextlib.redirect_stderr(file):
            return job(str(log.with_suffix(".html")))
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def report(options: argparse.Namespace, config: RunConfig, steps: int, results: Sequence[Mapping[str, Any]]) -> str:
    """All tables, as Markdown that is readable as it stands."""
    figures = {(r["task"], m, r["variant"], r["seed"]): r[m] for r in results for m in METRICS if r.get(m) is not None}
    measured = {(task, metric) for task, metric, *_ in figures}
    for name, row in ROWS.items():
        figures |= {(*column, name, "paper"): value for column, value in zip(PAPER, row.paper, strict=False)}
    rehearsal = {r["task"] for r in results if r["rehearsal"]}
    text = [
        f"# Ablation, linear evaluation: mean ± standard deviation over {len(options.seeds)} seeds\n",
        f"Profile {config.profile}, {config.pretrain.backbone}, {config.pretrain.epochs} epochs of {steps} steps of "
        f"{config.pretrain.pairs_per_step} pairs; {steps * 3 / 2:.0f} steps with one loss: the same number of views.\n",
        "- [ ]: the paper's table 7 (real photos, 35 million synthetic images, fine-tuning)",
        "- \\*: rehearsal, photos of generated people: rows compare with each other, not with the paper's",
        *(["- **a quick run: it tests the script; its figures mean nothing**"] * options.quick),
    ]  # fmt: skip
    own = row_of(config)
    for metric, minus in (("corr", ""), ("corr", own), ("acc", ""), ("acc", own), ("mae", "")):
        tasks = [task for task in config.transfer.tasks if (task, metric) in measured]
        if not tasks or minus not in ("", *options.variants):
            continue
        text.append(f"\n## {METRICS[metric]}{': ComFace minus the row, seed by seed' if minus else ''}\n")
        lines = [["", *(title(task) + "*" * (task in rehearsal) for task in tasks)]]
        for name in (name for name in options.variants if name != minus):
            mark = " = ComFace of the profile" * (name == own)
            lines.append([ROWS[name].name + mark, *(cell(figures, (task, metric), name, minus) for task in tasks)])
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        lines.insert(1, ["-" * width for width in widths])
        text += ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines]
    return "\n".join(text) + "\n"


def row_of(config: RunConfig) -> str | None:
    """The row that learns as the profile does; None where no row does."""
    learned = (config.pretrain.learning, config.pretrain.target, config.pretrain.curriculum)
    return next((name for name, row in ROWS.items() if row.learning == learned), None)


def cell(figures: Mapping[tuple[Any, ...], float], column: tuple[str, str], name: str, minus: str) -> str:
    """A row's figure (or that of `minus` less it, within each seed), its spread, and the paper's in brackets."""
    scale, shape = (100, ".1f") if column[1] == "acc" else (1, ".3f")
    values = {key[3]: scale * value for key, value in figures.items() if key[:3] == (*column, name)}
    if minus:
        others = {seed: figures.get((*column, minus, seed)) for seed in values}
        values = {seed: scale * other - values[seed] for seed, other in others.items() if other is not None}
    paper, sign = values.pop("paper", None), "+" if minus else ""
    text = f"{statistics.mean(values.values()):{sign}{shape}}" if values else "–"
    text += f" ± {statistics.stdev(values.values()):{shape}}" if len(values) > 1 else ""
    return text if paper is None else f"{text} [{paper:{sign}{shape}}]"


def publish(options: argparse.Namespace, steps: int, results: Sequence[Mapping[str, Any]], text: str) -> None:
    fields = ("variant", "seed", "task", "rehearsal", "unit", "subjects", "pairs", "corr", "mae", "acc", "uri")
    writer = csv.DictWriter(buffer := io.StringIO(), fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(results)
    record = {key: getattr(options, key) for key in ("profile", "overrides", "quick", "seeds")} | {
        "mode": "linear", "steps_per_epoch_of_both": steps, "views_per_pair": VIEWS, "results": results,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores", "python": platform.python_version(),
    }  # fmt: skip
    folder = FileStore(options.results)
    folder.write("ablation.csv", buffer.getvalue().encode())
    folder.write("ablation.json", (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode())
    folder.write("ablation.md", text.encode())


if __name__ == "__main__":
    try:
        main()
    except ComfaceError as error:
        say(f"error: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        say("Interrupted; run the same command to resume.")
        sys.exit(128 + signal.SIGINT)
