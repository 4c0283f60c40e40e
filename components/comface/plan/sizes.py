"""Estimates what a run needs before it starts: images, disk, memory of the largest step, batches of the loader.

In: a RunConfig. Out: Sizes, and errors if the run does not fit: the free disk of a file:// store, the memory of this
machine (outside a cluster), and the requests of the training job. The estimates are low, by at most a factor of two, so
that no run is refused that would fit.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from comface.datasets.rehearsal.registry import REHEARSALS
from comface.errors import ConfigurationError
from comface.plan.configuration import RunConfig
from comface.plan.consistency import dataset_names
from comface.plan.trainings import items, trainings
from comface.pretrain.config import PretrainConfig
from comface.pretrain.draft import cpu_processes, loader_bytes, process_count
from comface.runtime.logs import in_pod
from comface.runtime.memory import memory_limit_bytes
from comface.store import FileStore, Store
from comface.tasks.config import base
from comface.tracks.blocks import MOST
from comface.tracks.composition import totals

GIB = 2**30
BESIDES = 16 * 2**20
"""Disk for what every run writes besides images: manifests, tables, pages, a backbone and heads."""
WAITING_TRACKS = 10
"""Rendered tracks in synthesize that wait for an encoder."""
ACTIVATIONS = {"narrow": 12, "resnet18": 35, "resnet50": 130, "resnet101": 190, "vit_b_16": 120}
"""Bytes of activations per byte of a float32 view in training."""
FEATURES = {"narrow": 1440, "resnet18": 512, "resnet50": 2048, "resnet101": 2048, "vit_b_16": 768}
ROW_BYTES = 3000
"""A photo's labels and conditions in Python."""
STEP_BASE = GIB // 2
"""Memory of torch and a step's code."""


@dataclass(frozen=True)
class Sizes:
    tracks: int
    images: int
    identities: int
    transfers: int
    shards_bytes: int
    """The tracks take the same amount."""
    photos_bytes: int
    memory_bytes: Mapping[str, int]
    """Per step, for one process."""
    batches_bytes: int
    """Memory for the batches that the loader processes of one training node prepare."""
    training: str
    """The length of the training, a sentence."""

    @property
    def disk_bytes(self) -> int:
        return 2 * self.shards_bytes + self.photos_bytes + BESIDES

    def sentence(self) -> str:
        step, most = max(self.memory_bytes.items(), key=lambda each: each[1])
        made = f"{self.images:,} images ({self.tracks:,} tracks of {self.identities:,} identities)"
        return (
            f"The run makes {made if self.images else 'no images'} and {self.transfers:,} transfers; it needs about "
            f"{amount(self.disk_bytes)} of disk in the store, and "
            f"{amount(most)} of memory for one process of {step}. {self.training}"
        )


def sizes_of(config: RunConfig) -> Sizes:
    count, side, trained = totals(config.synthesize), config.synthesize.image_size_px, trainings(config)
    stored = count.images * _jpeg_bytes(side, config.synthesize.jpeg_quality)
    photos, rehearse_bytes = _rehearsed(config)
    made = not config.pretrain.reuse
    memory = {
        "synthesize": _synthesize_bytes(config) if made else 0,
        "pretrain": max(_pretrain_bytes(config, each.config) for each in trained) if made else 0,
        "rehearse": STEP_BASE + rehearse_bytes,
        "align": STEP_BASE
        + max((2 * n * config.data[name].face_size_px ** 2 * 3 for name, n in photos.items()), default=0),
        "transfer": _transfer_bytes(config, max(photos.values(), default=0)),
        "evaluate": STEP_BASE + config.evaluate.bootstrap * _people(config) * 8 * 4,
    }
    photo_bytes = _jpeg_bytes(config.rehearse.image_size_px, 80)
    faces = sum(n * (photo_bytes + config.data[name].face_size_px ** 2 * 3) for name, n in photos.items())
    return Sizes(
        tracks=count.tracks * made,
        images=count.images * made,
        identities=count.identities * made,
        transfers=len(items(config)),
        shards_bytes=stored * made,
        photos_bytes=faces,
        memory_bytes=memory,
        batches_bytes=(config.pretrain.gpus_per_node or cpu_processes(config.pretrain))
        * loader_bytes(config.pretrain.loader_workers, _local_pairs(config.pretrain), config.synthesize.image_size_px),
        training=_training(config, count.images, len(trained)),
    )


def _training(config: RunConfig, images: int, trainings: int) -> str:
    wanted = config.pretrain
    if wanted.reuse:
        return "It uses a backbone that exists, so nothing is pre-trained."
    whole = max(1, int(images * (1 - config.shard.validation_fraction)) // wanted.pairs_per_step)
    steps = f"{wanted.steps_per_epoch:,}" if wanted.steps_per_epoch else f"about {whole:,}"
    what = "Pre-training takes" if trainings == 1 else f"{trainings} pre-trainings take"
    said = f"{what} {wanted.epochs} epochs of {steps} steps{'' if trainings == 1 else ' each'}"
    stages = wanted.curriculum_ends
    reached = sum(end < wanted.epochs for end in stages) + 1
    early = wanted.curriculum and wanted.curriculum_form == "stages" and reached < len(stages)
    return f"{said}; it ends in stage {reached} of {len(stages)} of the curriculum." if early else f"{said}."


def room_problems(
    config: RunConfig, store: Store | None, environment: Mapping[str, str] = os.environ
) -> Iterator[ConfigurationError]:
    sizes, wanted = sizes_of(config), config.pretrain
    inside = in_pod(environment)
    if isinstance(store, FileStore) and (free := _short_of_disk(store.root, sizes.disk_bytes)) is not None:
        yield ConfigurationError(
            f"The run needs about {amount(sizes.disk_bytes)} in {store.uri}, whose disk has {amount(free)} free; make "
            "room, name another store, or lower synthesize.composition, image_size_px or the number of alphas."
        )
    if wanted.nodes > 1 or wanted.gpus_per_node:
        yield from _job_problems(config, sizes)
    if not inside and wanted.nodes == 1:
        yield from memory_problems(config, tuple(sizes.memory_bytes))


def memory_problems(config: RunConfig, steps: Sequence[str]) -> Iterator[ConfigurationError]:
    """Errors for those of `steps` that need more memory than this machine has."""
    machine, memory = memory_limit_bytes(), sizes_of(config).memory_bytes
    for step, needed in ((step, memory[step]) for step in steps):
        if needed > machine and not (step == "pretrain" and config.pretrain.gpus_per_node):
            yield ConfigurationError(
                f"The step {step} needs about {amount(needed)} of memory, and this machine has {amount(machine)}; "
                f"{LOWER[step]}."
            )


LOWER = {
    "synthesize": "lower synthesize.image_size_px or the number of alphas",
    "pretrain": "lower pretrain.pairs_per_step, image_size_px or the width of the projection",
    "rehearse": "lower rehearse.image_size_px or the photos per person",
    "align": "lower the photos of rehearse or face_size_px of the data set",
    "transfer": "lower transfer.pairs_per_subject or batch_pairs",
    "evaluate": "lower evaluate.bootstrap",
}


def amount(size_bytes: float) -> str:
    unit, name = next(((10**e, n) for e, n in ((12, "TB"), (9, "GB")) if size_bytes >= 10**e), (10**6, "MB"))
    return f"{size_bytes / unit:.{0 if size_bytes >= 10 * unit else 1}f} {name}"


def _job_problems(config: RunConfig, sizes: Sizes) -> Iterator[ConfigurationError]:
    job = config.pretrain.job
    if sizes.batches_bytes > job.memory_gib * GIB:
        yield ConfigurationError(
            f"The batches of a training node's loaders need {amount(sizes.batches_bytes)} of memory "
            f"({config.pretrain.loader_workers} workers of every process), and pretrain.job.memory_gib is "
            f"{job.memory_gib}; raise it, or lower pretrain.loader_workers."
        )
    if (config.pretrain.cache_gib or 0) > job.scratch_gib:
        yield ConfigurationError(
            f"pretrain.cache_gib is {config.pretrain.cache_gib:g}, but pretrain.job.scratch_gib, the scratch disk of a "
            f"node, is {job.scratch_gib}; lower the first or raise the second."
        )


def _local_pairs(wanted: PretrainConfig) -> int:
    return -(-wanted.pairs_per_step // process_count(wanted, {}))


def _jpeg_bytes(side_px: int, quality: int) -> int:
    """With the tar header: 12 KB at 256 px and quality 90."""
    return 900 + int(0.17 * side_px**2 * (1 + max(0, quality - 90) / 5))


def _synthesize_bytes(config: RunConfig) -> int:
    side, alphas = config.synthesize.image_size_px, len(config.synthesize.alphas)
    track = alphas * side**2 * 3
    block = MOST * alphas * _jpeg_bytes(side, config.synthesize.jpeg_quality)
    return STEP_BASE + track * (4 + WAITING_TRACKS) + 2 * block


def _pretrain_bytes(config: RunConfig, wanted: PretrainConfig) -> int:
    """Weights, gradient and Adam's two moments of the projection; the prefetched batches; the similarities of equation
    (1); on a CPU also the activations. Of all processes that train on one."""
    pairs = _local_pairs(wanted)
    width = FEATURES[wanted.backbone]
    hidden = wanted.projection_hidden or width
    projection = 4 * 4 * hidden * (width + wanted.projection_width)
    batches = loader_bytes(wanted.loader_workers, pairs, config.synthesize.image_size_px)
    similarities = 4 * (2 * pairs) * (2 * wanted.pairs_per_step) * 2
    kept = 0 if wanted.gpus_per_node else 3 * pairs * wanted.image_size_px**2 * 3 * 4 * ACTIVATIONS[wanted.backbone]
    processes = 1 if wanted.gpus_per_node else cpu_processes(wanted)
    return processes * (STEP_BASE + projection + batches + similarities + kept)


def _transfer_bytes(config: RunConfig, photos: int) -> int:
    """The rows of all photos, from which pairs are drawn; for linear evaluation the sums of r^T r per group that
    validates. Faces and features are read in blocks."""
    wanted = config.transfer
    pairs = _people(config) * wanted.pairs_per_subject
    linear = photos * ROW_BYTES + pairs * 80 + max(FEATURES.values()) ** 2 * 8 * (wanted.validation_turns + 4)
    finetune = 0
    if any(base(mode) == "finetune" for mode in wanted.modes) and not config.pretrain.gpus_per_node:
        networks = [(wanted.image_size_px, wanted.backbone)]
        networks += [(each.config.image_size_px, each.config.backbone) for each in trainings(config)]
        finetune = max(2 * wanted.batch_pairs * side**2 * 3 * 4 * ACTIVATIONS[backbone] for side, backbone in networks)
    return STEP_BASE + max(linear, finetune)


def _people(config: RunConfig) -> int:
    people: int = max(getattr(config.rehearse, rehearsal.people) for rehearsal in REHEARSALS.values())
    return people


def _rehearsed(config: RunConfig) -> tuple[dict[str, int], int]:
    """Photos per rehearsed data set, and the memory of the largest person's renders."""
    wanted = config.rehearse
    per_person = {name: rehearsal.photos(wanted) for name, rehearsal in REHEARSALS.items()}
    people = {name: getattr(wanted, rehearsal.people) for name, rehearsal in REHEARSALS.items()}
    names = [name for name in dataset_names(config) if name in people and not config.data[name].uri]
    largest = max((per_person[name] for name in names), default=0)
    used = {name: config.data[name].frames_per_subject or per_person[name] for name in names}
    return {
        name: min(used[name], per_person[name]) * people[name] for name in names
    }, largest * wanted.image_size_px**2 * 3 * 8


def _short_of_disk(root: Path, needed_bytes: int) -> int | None:
    """The free bytes, if they and the size of the store are less than `needed_bytes`; otherwise None."""
    disk = _disk(root)
    if disk is None or needed_bytes <= disk.free:
        return None
    held = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    return None if needed_bytes <= disk.free + held else disk.free


def _disk(path: Path | str) -> shutil._ntuple_diskusage | None:
    """Usage of the disk of `path`, which may not exist yet."""
    place = Path(path)
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        return shutil.disk_usage(place)
    except OSError:
        return None
