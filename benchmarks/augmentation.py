"""Does the fast augmentation cost quality? Trains the profile `laptop` with the product's views and with torchvision's
transforms, and evaluates both on the rehearsal tasks.

    comface run                                                                    # makes shards and faces
    python benchmarks/augmentation.py --store runs/laptop/store [--seeds 0 1 2] [--tasks au12 age] [--output DIR]
        [--set pretrain.FIELD=VALUE]

In: the store of a finished run. Out: a table of correlations (linear evaluation) per task, views and seed, and the mean
difference. torchvision's views are drawn per image with its own classes, with the same ranges: RandomRotation,
RandomResizedCrop (antialiased), RandomHorizontalFlip, ColorJitter (random order, clamped after each change, hue in HSV)
and RandomGrayscale. The side light, which torchvision does not have, is the product's in both. Only this script
replaces the views; the product has no such option.

One training takes about as long as that of `comface run` on one core (the product's views) and two to three times as
long (torchvision's); each evaluation of eight tasks about a minute.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from comface.artifacts.manifest import Artifact
from comface.faces.framing import view_drop
from comface.plan.configuration import resolve
from comface.pretrain import train_step, validation
from comface.pretrain.augment import _light
from comface.pretrain.config import PretrainConfig
from comface.pretrain.data import Batch
from comface.pretrain.draws import Draws, Y, draw_views
from comface.pretrain.network import VIEWS
from comface.pretrain.objective import views_of
from comface.pretrain.step import pretrain
from comface.store import FileStore, open_store

TASKS = ("au6", "au12", "edema-a", "edema-b", "edema-a-to-b", "age", "smile", "apparent-age")
FACES = {"au6": ("disfa",), "au12": ("disfa",), "edema-a": ("edema-a",), "edema-b": ("edema-b",),
         "edema-a-to-b": ("edema-b", "edema-a"), "age": ("fgnet",), "smile": ("cohort",),
         "apparent-age": ("cohort",)}  # fmt: skip
"""Task → data sets: tested, trained on."""


def torchvision_views(batch: Batch, config: PretrainConfig, draws: Draws, size_px: int, device: torch.device) -> Tensor:
    """The views of objective.views_of, made by torchvision's transforms."""
    kinds, wanted = VIEWS[config.learning], config.augmentation
    table_KNC = draw_views(wanted, draws, config.view_share)[list(kinds)]  # the light is read from it
    side_px, share = batch.x_NHWC.shape[1], config.view_share
    top, left = (round(side_px * (1 + drop - share) / 2) for drop in (view_drop(share), 0.0))
    kept_px = round(side_px * share)
    geometry = v2.Compose([
        v2.RandomRotation(wanted.rotation_deg, InterpolationMode.BILINEAR),
        v2.Lambda(lambda image: v2.functional.crop(image, top, left, kept_px, kept_px)),
        v2.RandomResizedCrop(size_px, (wanted.crop_min_area, wanted.crop_max_area), (1.0, 1.0), antialias=True),
        v2.RandomHorizontalFlip(wanted.flip),
    ])  # fmt: skip
    colours = v2.Compose([
        v2.ColorJitter(wanted.brightness, wanted.contrast, wanted.saturation, wanted.hue),
        v2.RandomGrayscale(wanted.grayscale),
    ])  # fmt: skip
    parts = []
    with torch.random.fork_rng():
        torch.manual_seed(draws.generator.initial_seed())
        for kind, table_NC in zip(kinds, table_KNC, strict=True):
            images_NCHW = (batch.y_NHWC if kind == Y else batch.x_NHWC).permute(0, 3, 1, 2).float() / 255
            view_NCHW = torch.stack([geometry(image) for image in images_NCHW])
            if wanted.side_light:
                view_NCHW = (_light(view_NCHW * 2 - 1, table_NC) + 1) / 2
            parts.append(torch.stack([colours(image) for image in view_NCHW]) * 2 - 1)
    return torch.cat(parts).contiguous(memory_format=torch.channels_last)


VIEWS_BY = {"ours": views_of, "torchvision": torchvision_views}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True, help="store of a finished run of the profile laptop")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--output", type=Path, default=Path("runs/augmentation"), help="folder of the results")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="FIELD=VALUE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    (shards,), faces = (
        artifacts(options.store, "shards"),
        {each.facts["dataset"]: each.uri for each in artifacts(options.store, "faces")},
    )
    found: dict[str, list[dict[str, float]]] = {name: [] for name in VIEWS_BY}
    print(f"{'views, seed':20s}" + "".join(f"{task:>14s}" for task in options.tasks) + f"{'training, s':>14s}")
    for seed in options.seeds:
        for name in VIEWS_BY:
            began, store = time.monotonic(), FileStore(options.output.resolve() / name)
            overrides = [*options.overrides, "pretrain.processes=1", f"pretrain.seed={seed}"]
            backbone = trained(store, resolve("laptop", overrides).pretrain, shards, name)
            took_s = time.monotonic() - began
            row = {task: correlation(store, task, backbone, [faces[each] for each in FACES[task]])
                   for task in options.tasks}  # fmt: skip
            found[name].append(row)
            print(f"{f'{name}, {seed}':20s}" + "".join(f"{row[task]:14.3f}" for task in row) + f"{took_s:14.0f}")
    means = {name: {task: statistics.mean(row[task] for row in rows) for task in options.tasks}
             for name, rows in found.items()}  # fmt: skip
    print(
        "ours - torchvision  " + "".join(f"{means['ours'][t] - means['torchvision'][t]:14.3f}" for t in options.tasks)
    )


def trained(store: FileStore, config: PretrainConfig, shards: Artifact, views: str) -> Artifact:
    for module in (train_step, validation):
        module.views_of = VIEWS_BY[views]  # type: ignore[attr-defined]
    return pretrain(store, config, shards, Path("/nowhere"))  # a file:// store needs no cache


def correlation(store: FileStore, task: str, backbone: Artifact, faces: Sequence[str]) -> float:
    command = [sys.executable, "-m", "comface", "transfer", "--store", store.uri, "--task", task, "--mode", "linear"]
    command += ["--backbone", backbone.uri, *(word for uri in faces for word in ("--faces", uri))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1])["metrics"]["corr"])


def artifacts(store: str, kind: str) -> list[Artifact]:
    from comface.artifacts.manifest import open_artifact

    place = open_store(store)
    addresses = sorted({key.split("/")[1] for key in place.keys(kind) if key.endswith("/manifest.json")})
    if not addresses:
        raise SystemExit(f"{store} has no {kind}; run `comface run` first.")
    return [open_artifact(f"{place.uri}/{kind}/{address}", kind) for address in addresses]


if __name__ == "__main__":
    main()
