"""Compares the StyleGANs with the official PyTorch code; measures the rendering path of the data set and its memory.

    python benchmarks/generators.py [--official DIR ...] [--networks stylegan stylegan2 stylegan3-t stylegan3-r]
        [--size 256] [--batch 1] [--rounds 3] [--path] [--memory]

`--official`: checkouts of NVlabs/stylegan3 (StyleGAN2, StyleGAN3) and genforce/interfacegan (StyleGAN). Their modules
are imported and run unchanged; on a CPU they use their own reference operations. Without this option, only our networks
are measured. Both get the same random weights of the published architecture (`--size 1024`: the published network), the
same latents, float32 and one thread; their images are compared. Rounds alternate between the two; the first round
includes one-time work, which the median ignores. Times are CPU times of the thread, so other processes do not affect
them.

`--path` measures a track from latents to the store (render, resize to 256 px, encode, store) and extrapolates the hours
for the default data set on this processor. `--memory` compares the peak memory of a process for n and 4 n tracks.
"""

from __future__ import annotations

import argparse
import importlib
import math
import statistics
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path

from comface.execution import set_threads_passive

set_threads_passive()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from comface.generators import edit  # noqa: E402
from comface.generators.stylegan.build import build  # noqa: E402
from comface.generators.stylegan.generator import StyleGanGenerator  # noqa: E402
from comface.generators.stylegan.stylegan1 import StyleGan1, StyleGan1Config  # noqa: E402
from comface.generators.stylegan.stylegan2 import StyleGan2, StyleGan2Config  # noqa: E402
from comface.generators.stylegan.stylegan3 import StyleGan3, StyleGan3Config  # noqa: E402
from comface.store import FileStore  # noqa: E402
from comface.synthesize.step import synthesize  # noqa: E402
from comface.tracks.composition import totals  # noqa: E402
from comface.tracks.config import Share, SynthesizeConfig  # noqa: E402
from comface.tracks.sweep import encode, render_track  # noqa: E402
from comface.tracks.tar import Track, TrackTar  # noqa: E402

Render = Callable[[Tensor], Tensor]
State = dict[str, Tensor]
NETWORKS = ("stylegan", "stylegan2", "stylegan3-t", "stylegan3-r")
R = {"channel_base": 65536, "channel_max": 1024}
IN_DATA_SET = {"stylegan": "stylegan", "stylegan3": "stylegan3-r"}
"""Generator of the default composition → the network of its published weights and directions."""
STORED_PX, QUALITY = 256, 90
LARGEST_DIFFERENCE = 2e-4
"""Tolerance relative to the largest value, as for the reference data in tests/data/generators."""
MEMORY_TRACKS = 192
"""Three blocks of 64 tracks; at most two blocks are in memory."""


def network_of(name: str, size_px: int) -> nn.Module:
    """Build the published network up to `size_px`, with uninitialised weights."""
    count = int(math.log2(size_px)) - 1
    if name == "stylegan":
        default = StyleGan1Config()
        return StyleGan1(StyleGan1Config(channels=default.channels[:count], fused=default.fused[:count]))
    if name == "stylegan2":
        return StyleGan2(StyleGan2Config(channels=StyleGan2Config().channels[:count], clamp=256.0))
    if name == "stylegan3-t":
        return StyleGan3(StyleGan3Config(image_size_px=size_px))
    return StyleGan3(StyleGan3Config(image_size_px=size_px, kernel=1, radial=True, **R))


def random_state(name: str, size_px: int) -> State:
    """Return all tensors as at the start of training, but without zeros that could hide an error."""
    torch.manual_seed(0)
    network = network_of(name, size_px)
    blur = torch.tensor([1.0, 2.0, 1.0])
    state = {}
    for key, tensor in network.state_dict().items():
        end = key.rsplit(".", 1)[-1]
        if end in ("up_filter", "down_filter"):
            state[key] = tensor  # fixed filters, not trained
        elif end == "resample_filter":
            taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
            state[key] = torch.outer(taps, taps) / 64
        elif key.endswith("blur.kernel"):
            state[key] = (torch.outer(blur, blur) / 16).expand(tensor.shape).clone()
        elif end == "transform":
            state[key] = torch.eye(3)
        elif end == "freqs":
            state[key] = torch.randn(tensor.shape).clamp(-1.4, 1.4)
        elif end in ("lod", "magnitude_ema", "noise_strength") or key == "truncation.truncation":
            state[key] = torch.full(tensor.shape, {"lod": 0.0, "noise_strength": 0.1}.get(end, 1.0))
        elif key.endswith("affine.bias"):
            state[key] = torch.ones(tensor.shape)
        elif end == "bias" or end == "w_avg" or key.endswith("apply_noise.weight"):
            state[key] = 0.1 * torch.randn(tensor.shape)
        else:
            state[key] = torch.randn(tensor.shape) * (100 if key.startswith("mapping.") else 1)
    return state


def ours(name: str, state: State) -> StyleGanGenerator:
    facts = {} if name == "stylegan" else {"conv_clamp": 256.0}
    return StyleGanGenerator(build(name.split("-")[0], {key: tensor.numpy() for key, tensor in state.items()}, facts))


def official(name: str, size_px: int, state: State, checkouts: list[Path]) -> Render | None:
    """Load the official module with the same weights; None if no checkout contains it."""
    needed = "models/stylegan_generator_model.py" if name == "stylegan" else "training/networks_stylegan3.py"
    root = next((path for path in checkouts if (path / needed).is_file()), None)
    if root is None:
        return None
    sys.path.insert(0, str(root))
    try:
        importlib.import_module("pkg_resources")
    except ModuleNotFoundError:  # removed in setuptools 82; only this function is needed
        stand_in = types.ModuleType("pkg_resources")
        stand_in.parse_version = importlib.import_module("packaging.version").parse  # type: ignore[attr-defined]
        sys.modules["pkg_resources"] = stand_in
    if name == "stylegan":
        # The package's __init__ needs TensorFlow; the module of the network does not.
        place = importlib.util.spec_from_file_location("official_stylegan", root / needed)
        module = importlib.util.module_from_spec(place)
        place.loader.exec_module(module)
        network = module.StyleGANGeneratorModel(resolution=size_px)
        network.load_state_dict(state)
        network.eval().requires_grad_(False)
        return lambda w_NLD: network.synthesis(w_NLD)
    module = importlib.import_module(f"training.networks_{name.split('-')[0]}")
    options = {
        "stylegan2": {"mapping_kwargs": {"num_layers": 8}, "conv_clamp": 256},
        "stylegan3-t": {"mapping_kwargs": {"num_layers": 2}},
        "stylegan3-r": {"mapping_kwargs": {"num_layers": 2}, "conv_kernel": 1, "use_radial_filters": True, **R},
    }[name]
    network = module.Generator(512, 0, 512, size_px, 3, **options)
    network.load_state_dict(state)
    network.eval().requires_grad_(False)
    return lambda w_NLD: network.synthesis(w_NLD, noise_mode="const", force_fp32=True)


def timed(render: Render, w_NLD: Tensor) -> tuple[Tensor, float]:
    started = time.process_time()
    images_NCHW = render(w_NLD)
    return images_NCHW, time.process_time() - started


def side_by_side(name: str, size_px: int, batch: int, rounds: int, checkouts: list[Path]) -> None:
    state = random_state(name, size_px)
    mine, theirs = ours(name, state), official(name, size_px, state, checkouts)
    w_NLD = torch.randn(batch, mine.layers, mine.latent_width)
    row = f"| {name} | {size_px} | {batch} |"
    apart, pairs = 0.0, []
    for _ in range(rounds):
        wanted, reference_s = timed(theirs, w_NLD) if theirs is not None else (None, math.nan)
        found, own_s = timed(mine.render, w_NLD)
        pairs.append((reference_s, own_s))
        if wanted is not None:
            apart = max(apart, ((found - wanted).abs().max() / wanted.abs().max()).item())
    reference, own = (batch / statistics.median(column) for column in zip(*pairs, strict=True))
    if theirs is None:
        print(f"{row} not given | {own:.3f} | | |", flush=True)
        return
    ratios = [reference_s / own_s for reference_s, own_s in pairs]
    ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
    print(f"{row} {reference:.3f} | {own:.3f} | {ratio} | {apart:.0e} |", flush=True)
    if not apart <= LARGEST_DIFFERENCE:
        raise SystemExit(f"{name}: the images differ by {apart:.1e} of the largest value.")


def path_seconds(name: str, size_px: int, images: int) -> dict[str, float]:
    """Return the seconds per image of each phase, for a track of `images`."""
    generator = ours(name, random_state(name, size_px))
    alphas = tuple(float(alpha) for alpha in np.linspace(-5, 5, images))
    w_1D, n_1D = torch.randn(1, generator.latent_width), torch.randn(1, generator.latent_width) / 23
    generator.render(w_1D)
    started = time.process_time()
    images_AHW3 = render_track(generator, edit(w_1D, n_1D, alphas)[0], STORED_PX)
    rendered = time.process_time()
    jpegs = encode(images_AHW3, QUALITY)
    encoded = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        tar = TrackTar()
        tar.add(Track(key="a-0-b", generator="a", identity="a-0", attribute="b", seed=0, alphas=alphas), jpegs)
        FileStore(Path(folder)).write("chunk.tar", tar.close())
    spent = {"render": rendered - started, "encode": encoded - rendered, "store": time.process_time() - encoded}
    return {phase: value / images for phase, value in spent.items()}


def whole_path(size_px: int, images: int) -> None:
    print(f"\nRendering path, {size_px} px stored as {STORED_PX} px, tracks of {images} images, ms per image:")
    whole = totals(SynthesizeConfig())
    count = len(SynthesizeConfig().alphas)
    hours = 0.0
    for generator, name in IN_DATA_SET.items():
        spent = path_seconds(name, size_px, images)
        wanted = sum(whole.tracks_by_attribute[generator].values()) * count
        hours += wanted * sum(spent.values()) / 3600
        print(f"{name}: " + ", ".join(f"{phase} {1000 * value:.1f}" for phase, value in spent.items()), flush=True)
    print(
        f"The default data set ({whole.images / 1e6:.2f} M images): {hours:,.0f} hours of one core of this processor "
        "(extrapolated from the rates above; not measured in a run or on a GPU)."
    )


def memory_of(tracks: int) -> None:
    """Generate tracks in this process and print its peak memory (MiB)."""
    share = Share(generator="dcgan", identities=tracks, attributes=("smile",))
    config = SynthesizeConfig(composition=(share,), alpha_step=5, parts=1, screen_faces=False)
    with tempfile.TemporaryDirectory() as folder:
        synthesize(FileStore(Path(folder)), config, 0)
    status = Path("/proc/self/status").read_text()  # ru_maxrss would include the parent's
    print(f"peak {int(status.split('VmHWM:')[1].split()[0]) / 1024:.0f}")


def memory() -> None:
    print("\nPeak memory of a process that generates tracks (dcgan, 3 images of 256 px each; blocks of 64 tracks):")
    for tracks in (MEMORY_TRACKS, 4 * MEMORY_TRACKS):
        command = [sys.executable, __file__, "--memory-of", str(tracks)]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        print(f"{tracks} tracks: {said.rsplit('peak ', 1)[1].strip()} MiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", type=Path, nargs="*", default=[], metavar="DIR")
    parser.add_argument("--networks", nargs="*", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--size", type=int, default=256, choices=(64, 128, 256, 512, 1024), help="native side length")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--path", action="store_true", help="also measure the rendering path of the data set")
    parser.add_argument("--images", type=int, default=3, help="with --path: number of images per track")
    parser.add_argument("--memory", action="store_true", help="also measure the memory of synthesize")
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory_of:
        memory_of(options.memory_of)
        return
    with torch.inference_mode():
        if options.networks:
            print("images per second of CPU time, medians; ratio: ours / official (range over the rounds)")
            if not options.official:
                print("no checkout of the official code (--official): only our networks are measured")
            print("| network | px | batch | official | ours | ratio | largest difference / largest value |")
            print("|---|---|---|---|---|---|---|")
        for name in options.networks:
            side_by_side(name, options.size, options.batch, options.rounds, options.official)
        if options.path:
            whole_path(options.size, options.images)
    if options.memory:
        memory()


if __name__ == "__main__":
    main()
