"""The batch of a network: measured once, remembered, lowered when memory is exhausted. Images do not depend on it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from comface.errors import TryAgain
from comface.generators.batches import CANDIDATES, MEASURED, NO_ENGINE, Batches, fastest, rendered

EXHAUSTED = torch.OutOfMemoryError("CUDA out of memory")


class Network:
    """Stands in for a network on a GPU: a fixed time per batch, and memory for `most` images."""

    def __init__(self, most: int = 1000, error: RuntimeError = EXHAUSTED) -> None:
        self.most, self.now_s, self.error = most, 0.0, error
        self.sizes: list[int] = []

    def __call__(self, w_NLD: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(w_NLD))
        if len(w_NLD) > self.most:
            raise self.error
        self.now_s += 1.0
        return w_NLD[:, :1].sum(2)[..., None, None]


W_NLD = torch.arange(101.0)[:, None, None].expand(101, 2, 3)


def render(network: Network, folder: Path, w_NLD: torch.Tensor, name: str = "network 64 px", gpu: str = "A GPU"):
    batches = Batches(name, "exact", gpu, lambda: folder, lambda: network.now_s)
    return batches.render(network, w_NLD)


def test_the_fastest_batch_is_taken() -> None:
    """Rates of the official StyleGAN3-R in float16 on an H200: 50, 58 and 9 images/s at 1, 4 and 16."""
    measured = {1: 1 / 50, 2: 2 / 55, 4: 4 / 58, 8: 8 / 40, 16: 16 / 9}
    tried = []

    def seconds_of(size: int) -> float:
        tried.append(size)
        return measured[size]

    assert fastest(seconds_of) == 4
    assert tried == [1, 2, 4, 8]


def test_a_larger_batch_must_be_worth_its_memory() -> None:
    assert fastest(lambda size: size / 100 if size < 8 else size / 102) == 1


def test_batches_that_do_not_fit_are_not_taken() -> None:
    assert fastest(lambda size: 0.01 if size <= 8 else None) == 8


def test_the_batch_is_measured_at_the_first_track_and_remembered(tmp_path: Path) -> None:
    network = Network()
    images = render(network, tmp_path, W_NLD)
    assert torch.equal(images, Network()(W_NLD))
    assert set(network.sizes) >= set(CANDIDATES)
    (known,) = json.loads((tmp_path / MEASURED).read_text()).items()
    assert "A GPU, network 64 px, exact, torch" in known[0]
    assert known[1] == 32
    again = Network()
    render(again, tmp_path, W_NLD)
    assert again.sizes == [26, 25, 25, 25]
    other = Network(most=2)
    render(other, tmp_path, W_NLD, "another network")
    assert other.sizes[:3] == [1, 1, 1]


def test_few_images_are_rendered_without_measuring(tmp_path: Path) -> None:
    network = Network()
    render(network, tmp_path, W_NLD[:5])
    assert network.sizes == [3, 2]
    assert not (tmp_path / MEASURED).exists()


def test_a_remembered_batch_that_no_longer_fits_is_halved(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    render(Network(), tmp_path, W_NLD)
    network = Network(most=7)
    busy = Batches("network 64 px", "exact", "A GPU", lambda: tmp_path)
    assert torch.equal(busy.render(network, W_NLD), Network()(W_NLD))
    assert max(network.sizes[-15:]) <= 7
    assert "renders 8 at once" in caplog.text
    network.sizes.clear()
    busy.render(network, W_NLD)
    assert max(network.sizes) <= 7


def test_a_gpu_without_memory_for_one_image_is_said(tmp_path: Path) -> None:
    with pytest.raises(TryAgain, match="A GPU has no free memory for one image"):
        render(Network(most=0), tmp_path, W_NLD[:5])


@pytest.mark.parametrize(
    "said",
    [
        "GET was unable to find an engine to execute this computation",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "Triton Error [CUDA]: out of memory",
    ],
)
def test_libraries_without_memory_get_a_smaller_batch(tmp_path: Path, said: str) -> None:
    """cuDNN, cuBLAS and Triton report exhausted memory as a RuntimeError, not as PyTorch's own error."""
    network = Network(most=2, error=RuntimeError(said))
    assert torch.equal(render(network, tmp_path, W_NLD[:5]), Network()(W_NLD[:5]))


@pytest.mark.parametrize("said", ["CUDA error: an illegal memory access was encountered", f"GET was {NO_ENGINE}"])
def test_other_errors_are_not_taken_for_exhausted_memory(tmp_path: Path, said: str) -> None:
    with pytest.raises(RuntimeError, match=said):
        render(Network(most=0, error=RuntimeError(said)), tmp_path, W_NLD[:5])


def test_a_cpu_renders_one_image_at_a_time(tmp_path: Path) -> None:
    network = Network()
    render(network, tmp_path, W_NLD[:5], gpu="")
    assert network.sizes == [1] * 5


@pytest.mark.parametrize("content", ["", "[]", '{"broken', "{}"])
def test_an_unreadable_record_is_measured_again(tmp_path: Path, content: str) -> None:
    (tmp_path / MEASURED).write_text(content)
    render(Network(), tmp_path, W_NLD)
    assert len(json.loads((tmp_path / MEASURED).read_text())) == 1


def test_batches_differ_by_at_most_one_image() -> None:
    network = Network()
    rendered(network, W_NLD, 16)
    assert network.sizes == [15, 15, 15, 14, 14, 14, 14]
