"""The encoder of PCL (Pose-disentangled Contrastive Learning): 16 convolutions with channel self-attention.

In: RGB in [0, 1], without normalisation. Out: one of three feature maps with 128 channels and a sixteenth of the side:
the trunk, or one of the two heads on it (`exp`: face-aware, `pose`). The map is flattened (the official linear
evaluation) or averaged (`gap`). The module names are those of the published file.

Legend: N images, C channels, P = H·W pixels of a map.
"""

from __future__ import annotations

from torch import Tensor, nn

CHANNELS, STRIDE = 128, 16
SLOPE = 0.1
"""Of the LeakyReLU after every convolution."""


class ChannelAttention(nn.Module):
    """y = LeakyReLU(x + (phi(x) · softmax_P(theta(x))^T) · softmax_C(g(x))). phi has no softmax."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.g, self.theta, self.phi = (nn.Conv2d(width, width, 1) for _ in range(3))
        self.activation = nn.LeakyReLU(SLOPE)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        theta_NCP = self.theta(x_NCHW).flatten(2).softmax(2)
        g_NCP = self.g(x_NCHW).flatten(2).softmax(1)
        similarity_NCC = self.phi(x_NCHW).flatten(2) @ theta_NCP.transpose(1, 2)
        y_NCHW: Tensor = self.activation(x_NCHW + (similarity_NCC @ g_NCP).view_as(x_NCHW))
        return y_NCHW


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(width, width, 3, 1, 1), nn.Conv2d(width, width, 3, 1, 1)
        self.activation = nn.LeakyReLU(SLOPE)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW: Tensor = self.activation(self.conv2(self.activation(self.conv1(x_NCHW))) + x_NCHW)
        return y_NCHW


class PclEncoder(nn.Module):
    """The features (N,D) of one `output` (trunk, exp, pose), pooled by `pool` (flatten, gap). All three outputs
    are built, so that a file is loaded whole."""

    def __init__(self, output: str = "trunk", pool: str = "flatten") -> None:
        super().__init__()
        self.output, self.pool = output, pool
        self.conv1 = _two(3, 64, 64, 2, first_px=7)
        self.layer1 = _two(64, 64, 64, 1, attention=True)
        self.layer2_1 = _two(64, 128, 128, 2, attention=True)
        self.resblock1, self.resblock2 = Residual(128), Residual(128)
        self.layer2_2 = _two(128, 128, 128, 2)
        self.layer3_1 = _two(128, 256, CHANNELS, 2)
        self.layer3_2_exp = _two(CHANNELS, CHANNELS, CHANNELS, 1)
        self.layer3_2_pose = _two(CHANNELS, CHANNELS, CHANNELS, 1)

    @property
    def map_layer(self) -> nn.Module:
        """The module whose output is the feature map."""
        found: nn.Module = getattr(self, {"trunk": "layer3_1"}.get(self.output, f"layer3_2_{self.output}"))
        return found

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x_NCHW = self.layer2_1(self.layer1(self.conv1(x_NCHW)))
        x_NCHW = self.layer3_1(self.layer2_2(self.resblock2(self.resblock1(x_NCHW))))
        if self.output != "trunk":
            x_NCHW = self.map_layer(x_NCHW)
        return x_NCHW.flatten(1) if self.pool == "flatten" else x_NCHW.mean((2, 3))

    def width(self, size_px: int) -> int:
        """D for images of `size_px`: each of the four layers of stride 2 rounds up."""
        return CHANNELS * (-(-size_px // STRIDE)) ** 2 if self.pool == "flatten" else CHANNELS


def _two(
    width_in: int, between: int, width_out: int, stride: int, first_px: int = 3, attention: bool = False
) -> nn.Sequential:
    """Two convolutions, each with its activation, and an attention between them."""
    first = nn.Conv2d(width_in, between, first_px, stride, first_px // 2)
    second = nn.Conv2d(between, width_out, 3, 1, 1)
    inner = [ChannelAttention(between)] if attention else []
    return nn.Sequential(first, nn.LeakyReLU(SLOPE), *inner, second, nn.LeakyReLU(SLOPE))
