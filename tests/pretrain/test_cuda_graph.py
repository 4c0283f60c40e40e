"""When the backbone is a CUDA graph, and what happens where it cannot be recorded. No GPU is needed."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from comface.pretrain.config import PretrainConfig
from comface.pretrain.cuda_graph import replay, replayable
from comface.pretrain.processes import Processes

GPU = torch.device("cuda", 0)


def test_a_graph_needs_a_gpu_one_part_and_no_communication_inside() -> None:
    one, two = Processes(0, 1, GPU), Processes(0, 2, GPU)
    assert replayable(PretrainConfig(), one)
    assert replayable(PretrainConfig(), two)
    assert replayable(PretrainConfig(batchnorm="global"), one)
    assert not replayable(PretrainConfig(batchnorm="global"), two)
    assert not replayable(PretrainConfig(accumulate=2), one)
    assert not replayable(PretrainConfig(cuda_graph=False), one)
    assert not replayable(PretrainConfig(), Processes(0, 1, torch.device("cpu")))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine on which the recording fails")
def test_where_the_recording_fails_the_log_says_so_and_the_network_is_as_before(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    with caplog.at_level(logging.WARNING):
        assert not replay(backbone, torch.zeros(2, 3, 8, 8), PretrainConfig(precision="fp32"))
    assert "The backbone is not recorded as a CUDA graph, so small batches take longer: " in caplog.text
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    assert "forward" not in vars(backbone)
