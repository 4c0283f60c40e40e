"""Compares the StyleGANs with the official PyTorch code; measures the rendering path of the data set and its memory.

    python benchmarks/generators.py [--device cuda] [--official DIR ...] [--networks stylegan stylegan2 stylegan3-t
        stylegan3-r] [--size 256] [--batch 1 4 16] [--rounds 3] [--path] [--price-per-hour 2.5] [--memory]

`--official`: checkouts of NVlabs/stylegan3 (StyleGAN2, StyleGAN3) and genforce/interfacegan (StyleGAN), whose modules
are imported and run unchanged (benchmarks/official.py). Without this option, only our networks are measured. Both get
the same random weights of the published architecture (`--size 1024`: the published network) and the same latents;
their images are compared. Rounds alternate between all of them; medians are given.

On a CPU: float32, one thread, processor time of the thread, so that other processes do not affect it; the official code
uses its own reference operations. On a GPU: both precisions (synthesize.precision) beside the official code in float32
without TF32 ("exact") and as its tools run it ("fast"), with its kernels; after a warm-up, each measurement repeats the
batch for at least 0.3 s. In "exact", images must be equal; benchmarks/precision.py compares "fast" with "exact".

`--path` makes tracks with the step synthesize, from latents to the store (render, resize to 256 px, check faces,
encode, store), and compares its rate with rendering alone. From it follow the hours for the default data set, and their
price (`--price-per-hour`). `--memory` compares the peak memory of a process for n and 4 n tracks.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from comface.execution import set_threads_passive

set_threads_passive()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from official import R, Render, official  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from comface.generators import Precision, edit  # noqa: E402
from comface.generators.batches import NO_ENGINE, exhausted  # noqa: E402
from comface.generators.stylegan.build import build  # noqa: E402
from comface.generators.stylegan.generator import StyleGanGenerator, tf32  # noqa: E402
from comface.generators.stylegan.stylegan1 import StyleGan1, StyleGan1Config  # noqa: E402
from comface.generators.stylegan.stylegan2 import StyleGan2, StyleGan2Config  # noqa: E402
from comface.generators.stylegan.stylegan3 import StyleGan3, StyleGan3Config  # noqa: E402
from comface.store import FileStore  # noqa: E402
from comface.synthesize.step import synthesize  # noqa: E402
from comface.tracks.composition import totals  # noqa: E402
from comface.tracks.config import Share, SynthesizeConfig  # noqa: E402
from comface.tracks.screen import face_found  # noqa: E402
from comface.tracks.sweep import start_track  # noqa: E402
from comface.weights.fetched import LANDMARKS, available  # noqa: E402

State = dict[str, Tensor]
NETWORKS = ("stylegan", "stylegan2", "stylegan3-t", "stylegan3-r")
IN_DATA_SET = {"stylegan": "stylegan", "stylegan3": "stylegan3-r"}
"""Generator of the default composition → the network of its published weights and directions."""
STORED_PX = 256
LARGEST_DIFFERENCE = 2e-4
"""Tolerance relative to the largest value, as for the reference data in tests/data/generators."""
LEAST_S = 0.3
"""Duration of a measurement on a GPU."""
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


def ours(name: str, state: State, device: str = "cpu") -> StyleGanGenerator:
    facts = {} if name == "stylegan" else {"conv_clamp": 256.0}
    arrays = {key: tensor.numpy() for key, tensor in state.items()}
    return StyleGanGenerator(build(name.split("-")[0], arrays, facts), device)


def in_one_batch(generator: StyleGanGenerator, precision: Precision) -> Render:
    """Renders without splitting. The precision is set at each call, because rounds alternate between precisions."""

    def render(w_NLD: Tensor) -> Tensor:
        if generator.precision != precision:
            generator.set_precision(precision)
        with tf32(precision == "fast"):
            return generator.network(w_NLD)

    return render


def timed(render: Render, w_NLD: Tensor) -> tuple[Tensor, float]:
    """The images, and the seconds for one batch."""
    if w_NLD.device.type == "cpu":
        started = time.process_time()
        images_NCHW = render(w_NLD)
        return images_NCHW, time.process_time() - started
    images_NCHW = render(w_NLD)  # also a change of precision
    torch.cuda.synchronize()
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < LEAST_S:
        render(w_NLD)
        count += 1
        if count % 4 == 0:  # otherwise hours of work would be queued
            torch.cuda.synchronize()
    torch.cuda.synchronize()
    return images_NCHW, (time.perf_counter() - started) / count


def side_by_side(
    name: str, size_px: int, batches: list[int], rounds: int, checkouts: list[Path], device: str = "cpu"
) -> None:
    """Prints a row per precision and batch, and the ratio of the best batches."""
    state = random_state(name, size_px)
    mine, theirs = ours(name, state, device), official(name, size_px, state, checkouts, device)
    if theirs is not None and device == "cuda":
        theirs = running(name, theirs, torch.randn(1, mine.layers, mine.latent_width, device=device))
    precisions: list[Precision] = ["exact", "fast"] if device == "cuda" else ["exact"]
    for precision in precisions:
        render = in_one_batch(mine, precision) if device == "cuda" else mine.render
        limit = LARGEST_DIFFERENCE if precision == "exact" else math.inf
        best = {"ours": 0.0, "official": 0.0}
        for batch in batches:
            w_NLD = torch.randn(batch, mine.layers, mine.latent_width, generator=torch.Generator().manual_seed(batch))
            row = f"| {name} | {size_px} | {precision} | {batch} |"
            try:
                rates = measured(row, render, theirs and theirs[precision], w_NLD.to(device), rounds, limit)
            except RuntimeError as error:
                if not exhausted(error) and NO_ENGINE not in str(error):
                    raise
                print(f"{row} {'out of memory' if exhausted(error) else f'cuDNN {NO_ENGINE}'} | | | |", flush=True)
                rates = {}
            if not rates:  # here the exception, which keeps tensors alive, is gone
                torch.cuda.empty_cache()
                continue
            best = {who: max(best[who], rate) for who, rate in rates.items()}
        if theirs is not None and len(batches) > 1 and best["official"]:
            cells = f"{best['official']:.3f} | {best['ours']:.3f} | {best['ours'] / best['official']:.2f} | |"
            print(f"| {name} | {size_px} | {precision} | best | {cells}", flush=True)


def running(name: str, theirs: dict[str, Render], w_1LD: Tensor) -> dict[str, Render] | None:
    """Call the official code once, which builds its kernels; None, and a line, if that is not possible here."""
    print(f"starting the official code of {name} (its kernels are built at the first start)", flush=True)
    try:
        theirs["fast"](w_1LD)
    except (RuntimeError, OSError, ImportError, subprocess.SubprocessError) as error:
        print(f"the official code of {name} does not run here ({str(error).splitlines()[0][:200]})", flush=True)
        return None
    return theirs


def measured(
    row: str, render: Render, reference: Render | None, w_NLD: Tensor, rounds: int, limit: float
) -> dict[str, float]:
    """Print one row; return the images per second of both. Ends the process if the images differ by more than
    `limit`."""
    apart, pairs, batch = 0.0, [], len(w_NLD)
    if w_NLD.device.type == "cuda":
        for warmed in (render, reference):
            _ = warmed and warmed(w_NLD)
    for _ in range(rounds):
        wanted, reference_s = timed(reference, w_NLD) if reference is not None else (None, math.nan)
        found, own_s = timed(render, w_NLD)
        pairs.append((reference_s, own_s))
        if wanted is not None:
            apart = max(apart, ((found.float() - wanted.float()).abs().max() / wanted.abs().max()).item())
    theirs, own = (batch / statistics.median(column) for column in zip(*pairs, strict=True))
    if reference is None:
        print(f"{row} not given | {own:.3f} | | |", flush=True)
        return {"ours": own, "official": math.nan}
    ratios = [reference_s / own_s for reference_s, own_s in pairs]
    ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
    print(f"{row} {theirs:.3f} | {own:.3f} | {ratio} | {apart:.0e} |", flush=True)
    if not apart <= limit:
        raise SystemExit(f"{row} the images differ by {apart:.1e} of the largest value.")
    return {"ours": own, "official": theirs}


class Edited(StyleGanGenerator):
    """With a direction of its own, so that the step needs no files."""

    def attributes(self) -> tuple[str, ...]:
        return ("smile",)

    def direction(self, attribute: str) -> Tensor:
        return torch.ones(1, self.latent_width) / self.latent_width**0.5


def path_rates(
    name: str, size_px: int, alphas: int, tracks: int, device: str = "cpu", precision: Precision = "exact"
) -> dict[str, float]:
    """Images per second of rendering alone (with the resize), and of the step synthesize, from latents to the store:
    on a GPU of wall time, on a CPU of processor time of all threads. The face check runs, but drops nothing, because
    random weights draw no faces."""
    clock = time.perf_counter if device == "cuda" else time.process_time
    facts = {} if name == "stylegan" else {"conv_clamp": 256.0}
    arrays = {key: tensor.numpy() for key, tensor in random_state(name, size_px).items()}
    generator = Edited(build(name.split("-")[0], arrays, facts), device)
    generator.set_precision(precision)
    edited_AD = edit(generator.latents([1]), generator.direction("smile").to(device), np.linspace(-5, 5, alphas))[0]
    start_track(generator, edited_AD, STORED_PX)()  # measures the batch on a GPU, compiles kernels
    started = clock()
    for wait in [start_track(generator, edited_AD, STORED_PX) for _ in range(tracks)]:
        wait()
    alone_s = clock() - started
    share = Share(generator=generator.name, identities=tracks, attributes=("smile",))
    config = SynthesizeConfig(
        composition=(share,), alpha_step=10 / (alphas - 1), parts=1, image_size_px=STORED_PX, precision=precision
    )
    with tempfile.TemporaryDirectory() as folder:
        started = clock()
        synthesize(
            FileStore(Path(folder)), config, 0, device=device, load=lambda *_: generator,
            find=lambda image_HW3: LANDMARKS not in available() or face_found(image_HW3) or True,
        )  # fmt: skip
        step_s = clock() - started
    return {"render": alphas * tracks / alone_s, "synthesize": alphas * tracks / step_s}


def whole_path(size_px: int, alphas: int, tracks: int, device: str, price: float | None) -> None:
    print(f"\nThe step synthesize, {size_px} px stored as {STORED_PX} px, {tracks} × {alphas} images; images/s:")
    if LANDMARKS not in available():
        print("without the face check, whose model is not there (`comface fetch` downloads it)")
    whole = totals(SynthesizeConfig())
    count = len(SynthesizeConfig().alphas)
    precisions: list[Precision] = ["exact", "fast"] if device == "cuda" else ["exact"]
    for precision in precisions:
        hours = 0.0
        for generator, name in IN_DATA_SET.items():
            rates = path_rates(name, size_px, alphas, tracks, device, precision)
            hours += sum(whole.tracks_by_attribute[generator].values()) * count / rates["synthesize"] / 3600
            share = rates["synthesize"] / rates["render"]
            print(
                f"{name}, {precision}: rendering alone {rates['render']:.2f}, the step {rates['synthesize']:.2f} "
                f"({share:.0%})", flush=True,
            )  # fmt: skip
        unit = "GPU-hours" if device == "cuda" else "hours of one core of this processor"
        money = "" if price is None else f", {hours * price:,.0f} at {price:g} per hour"
        print(
            f"The default data set ({whole.images / 1e6:.2f} M images), {precision}: {hours:,.0f} {unit}{money} "
            f"(extrapolated from {tracks * alphas} images per network, with random weights)."
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
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--official", type=Path, nargs="*", default=[], metavar="DIR")
    parser.add_argument("--networks", nargs="*", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--size", type=int, choices=(8, 16, 32, 64, 128, 256, 512, 1024),
                        help="native side length (default: 256, on a GPU 1024)")  # fmt: skip
    parser.add_argument("--batch", type=int, nargs="+", help="batches (default: 1, on a GPU 1 4 16)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--path", action="store_true", help="also measure the step synthesize")
    parser.add_argument("--images", type=int, help="with --path: images per track (default: 3, on a GPU 101)")
    parser.add_argument("--tracks", type=int, help="with --path: number of tracks (default: 1, on a GPU 4)")
    parser.add_argument("--price-per-hour", type=float, help="with --path: price of an hour of the GPU or core")
    parser.add_argument("--memory", action="store_true", help="also measure the memory of synthesize")
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    gpu = options.device == "cuda"
    if gpu and not torch.cuda.is_available():
        raise SystemExit("There is no GPU; leave --device out to measure on the CPU.")
    if not gpu:
        torch.set_num_threads(1)
    if options.memory_of:
        memory_of(options.memory_of)
        return
    size_px = options.size or (1024 if gpu else 256)
    with torch.inference_mode():
        if options.networks:
            print(f"images per second on {torch.cuda.get_device_name() if gpu else 'one thread (processor time)'}, "
                  "medians; ratio: ours / official (range over the rounds)")  # fmt: skip
            if not options.official:
                print("no checkout of the official code (--official): only our networks are measured")
            print("| network | px | precision | batch | official | ours | ratio | largest difference / largest value |")
            print("|---|---|---|---|---|---|---|---|")
        for name in options.networks:
            side_by_side(
                name, size_px, options.batch or ([1, 4, 16] if gpu else [1]), options.rounds, options.official,
                options.device,
            )  # fmt: skip
        if options.path:
            images, tracks = options.images or (101 if gpu else 3), options.tracks or (4 if gpu else 1)
            whole_path(size_px, images, tracks, options.device, options.price_per_hour)
    if options.memory:
        memory()


if __name__ == "__main__":
    main()
