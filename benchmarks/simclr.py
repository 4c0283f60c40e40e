"""Compares pre-training with lightly's SimCLR, on the same images and in the same backbone, in alternating rounds.

Used by pretrain.py. Three parts: data (read, decode, augment), compute (network, losses, optimiser on views in memory),
and both, end to end. lightly's side is built as its documentation does: LightlyDataset, its SimCLR transform, its
projection head, its NTXentLoss, a PyTorch DataLoader and the same optimiser. Its transform gets our strengths, and no
Gaussian blur, which the paper does not use. Ours trains with `learning: inter`: two views of every x and equation (1),
the same work, without rotation and light from a side, which SimCLR does not have. The row with both losses has them.

Antialiasing: torchvision averages pixels when a view shrinks its crop. Ours samples bilinearly (at these sizes, a view
shrinks a crop by at most 1.14). So lightly's transform is measured as shipped (PIL images, always with antialiasing),
and on tensors without antialiasing: like for like.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from comface.artifacts.manifest import Artifact
from comface.networks.backbones import build_backbone
from comface.pretrain.config import PretrainConfig
from comface.pretrain.data import Batch, PairImages, sides_of
from comface.pretrain.draws import Draws
from comface.pretrain.loaders import Loader
from comface.pretrain.network import build_network
from comface.pretrain.objective import alphas_of, losses_of, views_of
from comface.pretrain.optimiser import build_optimizer
from comface.pretrain.pairs import PairSampler
from comface.pretrain.position import Position
from comface.pretrain.prefetch import on_device
from comface.pretrain.processes import Processes
from comface.pretrain.train_step import TrainStep
from comface.runtime.folders import cache_folder
from comface.seeds import numpy_rng
from comface.shard.config import ShardConfig
from comface.shard.step import shard
from comface.store import FileStore
from comface.synthesize.step import synthesize
from comface.tracks.config import Share, SynthesizeConfig
from comface.tracks.shard_reader import ShardReader

ENDLESS = 10**9
"""Steps of the one epoch from which batches are measured."""
ATTRIBUTES = ("smile", "weight")
BOTH = "ours, both losses (pairs/s)"
SHIPPED, WITHOUT = "lightly, as shipped", "lightly, tensors, no antialiasing"


class Blobs:
    """A generator that costs nothing: smooth colours with a little noise, so that a JPEG has the size of a face's."""

    name, latent_width, image_size_px = "procedural", 48, 64

    def latents(self, seeds: Sequence[int]) -> Tensor:
        rows = [numpy_rng(int(seed), "blobs").standard_normal(self.latent_width, np.float32) for seed in seeds]
        return torch.from_numpy(np.stack(rows))

    def render(self, w_ND: Tensor, size_px: int | None = None) -> Tensor:
        size_px = size_px or self.image_size_px
        coarse_NCHW = w_ND.reshape(-1, 3, 4, 4)
        images = nn.functional.interpolate(coarse_NCHW, size=(size_px, size_px), mode="bicubic")
        grain_HW = torch.randn(size_px, size_px, generator=torch.Generator().manual_seed(0))
        return (0.5 * images + 0.03 * grain_HW).clamp(-1, 1)

    def attributes(self) -> tuple[str, ...]:
        return ATTRIBUTES

    def direction(self, attribute: str) -> Tensor:
        return torch.eye(self.latent_width)[ATTRIBUTES.index(attribute)][None] / 5


def make_shards(folder: Path, identities: int, size_px: int) -> Artifact:
    share = Share(generator="procedural", identities=identities, attributes=ATTRIBUTES)
    config = SynthesizeConfig(image_size_px=size_px, alpha_step=2.5, parts=1, composition=(share,), screen_faces=False)
    store = FileStore(folder)
    return shard(store, ShardConfig(), [synthesize(store, config, 0, load=lambda *_, **__: Blobs())])


ALONE = Processes(0, 1, torch.device("cpu"))


def pair_images(shards: Artifact, config: PretrainConfig, processes: Processes = ALONE) -> PairImages:
    reader = ShardReader(shards, "train", cache_folder())
    sampler = PairSampler(reader.identity_T, reader.alphas, config.pairs_per_step, 0)
    return PairImages(reader, sampler, processes, ENDLESS, [10.0], sides=sides_of(config))


class Ours:
    """The product's loader, views and step."""

    def __init__(self, shards: Artifact, config: PretrainConfig, device: torch.device, workers: int) -> None:
        self.config, self.device = config, device
        self.processes = Processes(0, 1, device)
        network = build_network(self.config, 10.0).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network, self.optimizer = network.train(), build_optimizer(network, self.config)
        self.train_step = TrainStep(network, self.optimizer, self.config, self.processes)
        images = pair_images(shards, self.config)
        self.loader = Loader([images], workers)
        self.feed: Generator[Batch, None, None] = on_device(self.loader, images, range(ENDLESS), device)
        self.at = Position(ENDLESS)
        self.fixed = self.viewed(next(self.feed))

    def viewed(self, batch: Batch) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        draws = Draws(torch.Generator().manual_seed(0), self.config.pairs_per_step)
        views = views_of(batch, self.config, draws, self.config.image_size_px, self.device)
        return views, alphas_of(batch, self.device)

    def data(self) -> None:
        self.viewed(next(self.feed))

    def compute(self) -> None:
        losses = losses_of(self.network, *self.fixed, self.config, self.processes)
        self.optimizer.zero_grad(set_to_none=True)
        losses.total.backward()
        self.optimizer.step()

    def whole(self) -> None:
        self.train_step(next(self.feed), self.at)
        self.at.step += 1
        if self.at.step % 10 == 0:
            self.train_step.read()

    def close(self) -> None:
        """End the loader. Its memory is registered with CUDA, and another loader may get the same address."""
        self.feed.close()
        self.loader.close()


class Lightly:
    """The same with lightly. `shipped`: PIL images; otherwise tensors, without antialiasing."""

    def __init__(
        self, images: Path, config: PretrainConfig, device: torch.device, workers: int, shipped: bool = True
    ) -> None:
        from lightly.loss import NTXentLoss
        from lightly.models.modules import SimCLRProjectionHead

        self.config, self.device = config, device
        self.backbone, width = build_backbone(config.backbone, config.image_size_px)
        hidden = config.projection_hidden or width
        self.head = SimCLRProjectionHead(width, hidden, config.projection_width)
        self.loss = NTXentLoss(temperature=config.temperature)
        both = nn.ModuleList([self.backbone, self.head]).to(device).train()
        kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
        self.optimizer = kind(both.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        self.feed = _endless(_loader(images, config, workers, shipped, device.type == "cuda"))
        self.fixed = self.viewed(next(self.feed))

    def viewed(self, item: Any) -> list[Tensor]:
        return [view.to(self.device, non_blocking=True) for view in item[0]]

    def data(self) -> None:
        self.viewed(next(self.feed))

    def compute(self) -> None:
        self._step(self.fixed)

    def whole(self) -> None:
        self._step(self.viewed(next(self.feed)))

    def _step(self, views: list[Tensor]) -> None:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            z0, z1 = (self.head(self.backbone(view)) for view in views)
        loss = self.loss(z0.float(), z1.float())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()


def _endless(loader: Iterable[Any]) -> Iterator[Any]:
    while True:
        yield from loader


def _loader(images: Path, config: PretrainConfig, workers: int, shipped: bool, pin: bool) -> Iterable[Any]:
    """lightly's data set and transform; without `shipped`, its steps on tensors."""
    from lightly.data import LightlyDataset
    from lightly.transforms import SimCLRTransform
    from torch.utils.data import DataLoader
    from torchvision.io import decode_jpeg, read_file
    from torchvision.transforms import v2

    strengths = config.augmentation
    transform: Any = SimCLRTransform(
        config.image_size_px, cj_prob=1.0, cj_bright=strengths.brightness, cj_contrast=strengths.contrast,
        cj_sat=strengths.saturation, cj_hue=strengths.hue, min_scale=strengths.crop_min_area,
        random_gray_scale=strengths.grayscale, gaussian_blur=0.0, hf_prob=strengths.flip,
    )  # fmt: skip
    if shipped:
        data = LightlyDataset(str(images), transform=transform)
    else:
        area = (strengths.crop_min_area, 1.0)
        jitter = v2.ColorJitter(strengths.brightness, strengths.contrast, strengths.saturation, strengths.hue)
        view = v2.Compose([
            v2.RandomResizedCrop(config.image_size_px, area, antialias=False), v2.RandomHorizontalFlip(strengths.flip),
            jitter, v2.RandomGrayscale(strengths.grayscale), v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5] * 3, [0.5] * 3),
        ])  # fmt: skip
        data = LightlyDataset(str(images), transform=lambda image: [view(image), view(image)])
        data.dataset.loader = lambda path: decode_jpeg(read_file(path))
    options: dict[str, Any] = {"persistent_workers": True} if workers else {}
    return DataLoader(
        data, config.pairs_per_step, shuffle=True, drop_last=True, num_workers=workers, pin_memory=pin, **options
    )


def written_images(shards: Artifact, folder: Path) -> Path:
    """Every training image of the shards as a file, in the layout that lightly reads."""
    reader = ShardReader(shards, "train", cache_folder())
    (folder / "all").mkdir(parents=True)
    for number, item in enumerate(reader.tracks):
        for alpha in range(len(item.track.alphas)):
            (folder / "all" / f"{number:05d}-{alpha:03d}.jpg").write_bytes(reader.jpeg(number, alpha))
    return folder


class Case(NamedTuple):
    """What is compared: network, side of the stored images and of the views, pairs per step."""

    backbone: str
    stored_px: int
    view_px: int
    pairs: int

    def __str__(self) -> str:
        return f"{self.backbone}, {self.pairs} images per step, {self.stored_px} px to {self.view_px} px"


def compare(case: Case, config: PretrainConfig, folder: Path, options: Any, parts: Sequence[str]) -> dict[str, float]:
    """Print images/s of each part on both sides. Return the median ratio ours / lightly of each part, and our own
    rates. `options`: device, workers, rounds, seconds."""
    device = torch.device(options.device)
    free_memory(device)
    config = config.model_copy(
        update={"backbone": case.backbone, "image_size_px": case.view_px, "pairs_per_step": case.pairs}
    )
    shards = make_shards(folder / "store", max(40, round(case.pairs / 0.85)), case.stored_px)
    alike = config.augmentation.model_copy(update={"rotation_deg": 0.0, "side_light": 0.0})
    inter = config.model_copy(update={"learning": "inter", "augmentation": alike})
    sides: dict[str, Any] = {}
    found: dict[str, float] = {}

    def measured(part: str, names: Sequence[str]) -> dict[str, list[float]]:
        return in_rounds(
            {name: timed(getattr(sides[name], part), case.pairs, options, device) for name in names}, options.rounds
        )

    def row(name: str, rates: Sequence[float], beside: str = "") -> None:
        print(f"    {name:36s}{statistics.median(rates):10,.0f}{beside}", flush=True)

    with ExitStack() as ended:
        sides["ours"] = ended.enter_context(closing(Ours(shards, inter, device, options.workers)))
        if find_spec("lightly"):
            images = written_images(shards, folder / "images")
            sides[SHIPPED] = Lightly(images, config, device, options.workers)
            if "data" in parts:
                sides[WITHOUT] = Lightly(images, config, device, options.workers, shipped=False)
        setting = f"{case}, {config.precision}, {options.workers} loader workers"
        print(f"\n{setting}; images/s, medians of {options.rounds} rounds")
        for part in parts:
            print(f"  {part}")
            rates = measured(part, [name for name in sides if name != WITHOUT or part == "data"])
            for name, each in rates.items():
                if name == "ours":
                    found[name] = statistics.median(each)
                    row(name, each)
                    continue
                ratios = [ours / theirs for ours, theirs in zip(rates["ours"], each, strict=True)]
                found[f"{part}: {name}"] = ratio = statistics.median(ratios)
                row(name, each, f"   ours: {ratio:.2f} times ({min(ratios):.2f}-{max(ratios):.2f})")
        if "whole" in parts:
            ended.close()  # a CUDA graph keeps its memory: two of 512 pairs do not fit into 80 GB
            sides.clear()
            free_memory(device)
            sides[BOTH] = ended.enter_context(closing(Ours(shards, config, device, options.workers)))
            (each,) = measured("whole", [BOTH]).values()
            found[BOTH] = statistics.median(each)
            row(BOTH, each)
    return found


def free_memory(device: torch.device) -> None:
    """Free the networks and the graphs that are not in use."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def timed(step: Callable[[], None], images: int, options: Any, device: torch.device) -> Callable[[], float]:
    """A function that repeats `step` for about options.seconds and returns images/s."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    def rate() -> float:
        step()  # warm-up
        wait()
        started, count = time.perf_counter(), 0
        while count < 2 or time.perf_counter() - started < options.seconds:
            step()
            count += 1
            if count % 10 == 0:
                wait()
        wait()
        return images * count / (time.perf_counter() - started)

    return rate


def in_rounds(actions: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """The results of each action. Rounds alternate between the actions, so that changes in load affect all equally."""
    found: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            found[name].append(action())
    return found
