"""The picture of a training: losses and the held-out correlation, epoch by epoch."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any


def draw_curve(curve: Sequence[Mapping[str, Any]]) -> bytes:
    """PNG of one record per epoch (`loss_inter`, `loss_intra`, `s`, `validation`: {corr, mae, top1})."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    epochs = [record["epoch"] for record in curve]
    for axes, key, title in (
        (left, "loss_inter", "inter-personal loss, eq. (1)"),
        (middle, "loss_intra", "intra-personal loss (MSE)"),
    ):
        if any(record[key] is not None for record in curve):
            axes.plot(epochs, [record[key] for record in curve], marker="o", color="#0b6e8a", label="training")
            axes.plot(
                epochs,
                [record["validation"][key] for record in curve],
                marker="s",
                ls="--",
                color="#c1521b",
                label="held-out identities",
            )
            axes.legend(frameon=False, fontsize=8)
        else:
            axes.text(0.5, 0.5, "not used in this run", ha="center", va="center", transform=axes.transAxes)
        axes.set_title(title, fontsize=10)
    right.plot(
        epochs,
        [r["validation"]["corr"] or 0.0 for r in curve],
        marker="s",
        color="#c1521b",
        label="corr(d, true change)",
    )
    right.plot(
        epochs,
        [r["validation"]["top1"] or 0.0 for r in curve],
        marker="^",
        color="#5b3f8c",
        label="same face found (top-1)",
    )
    right.step(
        epochs,
        [r["s"] / curve[0]["s"] for r in curve],
        where="mid",
        color="#888888",
        ls=":",
        label="range S, share of first epoch",
    )
    right.set_ylim(-0.05, 1.05)
    right.legend(frameon=False, fontsize=8)
    right.set_title("on held-out identities", fontsize=10)
    for axes in (left, middle, right):
        axes.set_xlabel("epoch")
        axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()
