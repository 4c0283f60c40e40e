"""Plots the losses and the held-out metrics of a training, epoch by epoch."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

TRAINED, HELD_OUT, FOUND, RANGE = "#0b6e8a", "#c1521b", "#5b3f8c", "#888888"


def draw_curve(curve: Sequence[Mapping[str, Any]]) -> bytes:
    """Return a PNG. `curve`: one record per epoch (`loss_inter`, `loss_intra`, `s`; `held_out`: the same losses
    at the same s; `validation`: {corr, mae, top1} over the whole range)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    _draw_loss(left, curve, "loss_inter", "inter-personal loss, eq. (1)")
    _draw_loss(middle, curve, "loss_intra", "intra-personal loss (MSE)")
    _draw_held_out(right, curve)
    for axes in (left, middle, right):
        axes.set_xlabel("epoch")
        axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def _draw_loss(axes: Any, curve: Sequence[Mapping[str, Any]], key: str, title: str) -> None:
    epochs = [record["epoch"] for record in curve]
    if any(record[key] is not None for record in curve):
        trained, held_out = [record[key] for record in curve], [record["held_out"][key] for record in curve]
        axes.plot(epochs, trained, marker="o", color=TRAINED, label="training")
        axes.plot(epochs, held_out, marker="s", ls="--", color=HELD_OUT, label="held-out identities, same S")
        axes.legend(frameon=False, fontsize=8)
    else:
        axes.text(0.5, 0.5, "not used in this run", ha="center", va="center", transform=axes.transAxes)
    axes.set_title(title, fontsize=10)


def _draw_held_out(axes: Any, curve: Sequence[Mapping[str, Any]]) -> None:
    epochs = [record["epoch"] for record in curve]
    corr, top1 = ([record["validation"][key] or 0.0 for record in curve] for key in ("corr", "top1"))
    within = [record["held_out"]["corr"] or 0.0 for record in curve]
    ranges = [record["s"] / curve[0]["s"] for record in curve]
    axes.plot(epochs, corr, marker="s", color=HELD_OUT, label="correlation of d and true change")
    axes.plot(epochs, within, marker=".", ls="--", color=HELD_OUT, label="the same, within S of the epoch")
    axes.plot(epochs, top1, marker="^", color=FOUND, label="same face found (top-1)")
    axes.step(epochs, ranges, where="mid", color=RANGE, ls=":", label="range S, relative to first epoch")
    axes.set_ylim(-0.05, 1.05)
    axes.legend(frameon=False, fontsize=8)
    axes.set_title("on held-out identities", fontsize=10)
