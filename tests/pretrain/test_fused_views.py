"""All views by one kernel, in Triton's interpreter, against the PyTorch path."""

from __future__ import annotations

import pytest
import torch

from comface.networks.kernels import plain
from comface.pretrain.config import Augmentation, PretrainConfig
from comface.pretrain.data import Batch
from comface.pretrain.draws import Draws
from comface.pretrain.objective import views_of

pytest.importorskip("triton")
pytestmark = pytest.mark.usefixtures("interpreter")
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("learning", "stored", "size", "light", "precision"),
    [("both", 40, 33, 0.8, "fp32"), ("inter", 17, 48, 0.0, "fp32"), ("intra", 64, 40, 0.5, "bf16")],
)
def test_one_kernel_makes_the_views_of_the_pytorch_path(
    learning: str, stored: int, size: int, light: float, precision: str
) -> None:
    draw = torch.Generator().manual_seed(0)
    x, y = (torch.randint(256, (3, stored, stored, 3), generator=draw).to(torch.uint8) for _ in range(2))
    batch = Batch(x, y, torch.zeros(3), torch.zeros(3))
    changes = Augmentation(rotation_deg=30, side_light=light)
    config = PretrainConfig(learning=learning, precision=precision, augmentation=changes, view_share=0.9)

    def views() -> torch.Tensor:
        return views_of(batch, config, Draws(torch.Generator().manual_seed(1), 3), size, CPU)

    with plain():
        wanted = views()
    found = views()
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert found.dtype == (torch.float32 if precision == "fp32" else torch.bfloat16)
    torch.testing.assert_close(found.float(), wanted, rtol=0, atol=1e-4 if precision == "fp32" else 5e-3)
