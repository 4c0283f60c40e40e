"""A realistic evaluation, made of numbers: fifteen methods, eight tasks, several modes, every statistic, one task with
hundreds of thousands of pairs, absent methods, a stand-in with random weights, and names that try to break the page."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from comface.evaluate.cards import Card
from comface.evaluate.header import Line, RunFacts
from comface.evaluate.plots import histogram
from comface.evaluate.pretrainings import Pretraining, Sheet, charts
from comface.evaluate.provenance import Origin
from comface.evaluate.report import Behind
from comface.evaluate.results import Comparison, Result
from comface.evaluate.studies import Trained
from comface.evaluate.tables import About
from comface.tasks.agreement import Agreement, GroupFigures, SizeBin, SmallestChange
from comface.tasks.comparisons import Gain
from comface.tasks.conformal import Coverage, Stratum
from comface.tasks.metrics import Estimate, Spread

HOSTILE_TASK = "<script>alert(1)</script>"
HOSTILE_UNIT = 'kg "><img src=x> $x_$'
UNITS = {
    "au6": "AU intensity (0-5)", "au12": "AU intensity (0-5)", "edema-a": "kg", "edema-b": "kg", "edema-a-to-b": "kg",
    "age": "years", "smile": "smile score (logit)", HOSTILE_TASK: HOSTILE_UNIT,
}  # fmt: skip
LEFT_OUT = {
    "timm:vit_base_patch16_dinov3": "vit_base_patch16_dinov3.safetensors is not in the weights location; put it there "
    "as the documentation says",
}
MODES = ("linear", "linear+standardised", "finetune", "finetune+fresh")


def about() -> About:
    return About(LEFT_OUT, ("imagenet",))


def results(methods: Sequence[str], tasks: Sequence[str] = tuple(UNITS), modes: Sequence[str] = MODES,
            many: int = 200_000, seed: int = 0) -> list[Result]:  # fmt: skip
    """Fifteen people and 300 pairs per task; `many` pairs of au12."""
    made = []
    for task in tasks:
        rng = np.random.default_rng([seed, len(task)])
        pairs = many if task == "au12" else 300
        change = rng.normal(size=pairs) * 2
        change = np.round(change) if task.startswith("au") else change
        for mode in modes:
            for number, method in enumerate(methods):
                error = (0.5 if method == "comface" else 0.9 + 0.1 * number) * (0.8 if "finetune" in mode else 1)
                made.append(_result(task, method, mode, change, change * 0.8 + rng.normal(size=pairs) * error, rng))
    return made


def _result(
    task: str, method: str, mode: str, change: np.ndarray, predicted: np.ndarray, rng: np.random.Generator
) -> Result:
    error = predicted - change
    direction = not task.startswith("au") and task != "age"
    figures = {
        "mae": near(float(abs(error).mean())),
        "corr": near(float(np.corrcoef(change, predicted)[0, 1])),
        "acc": near(float((np.sign(change) == np.sign(predicted))[change != 0].mean())),
    }
    figures = {name: each for name, each in figures.items() if direction or name != "acc"}
    bins = []
    for low, high in ((0.0, 0.5), (0.5, 1.0), (1.0, 2.0), (2.0, 4.0), (4.0, 12.0)):
        of = (abs(change) > low) & (abs(change) <= high)
        if of.sum() > 4:
            right = np.sign(change[of]) == np.sign(predicted[of])
            bins.append(
                SizeBin(low, high, int(of.sum()), 15, near(float(abs(error[of]).mean())), near(float(right.mean())))
            )
    sd = float(error.std())
    widths = (("alike", 1.4), ("medium", 1.8), ("unlike", 2.3))
    thirds = tuple(Stratum(name, 100, near(0.9), width, near(0.88)) for name, width in widths)
    return Result(
        task=task, method=method, mode=mode, unit=UNITS[task], dataset=f"set of {task}", rehearsal=task != "age",
        shows_direction=direction, pairs=len(change), subjects=15, protocol_sha256="0" * 64, change_P=change,
        predicted_P=predicted, predicted_RP=predicted[None], subject_P=np.arange(len(change)) % 15,
        estimates=figures, seeds=(0, 1, 2),
        seed_spread={name: Spread(0.012, 3) for name in figures},
        agreement=Agreement(near(float(error.mean())), near(-1.96 * sd), near(1.96 * sd), near(1.96 * sd), 0.6, 0.3),
        by_size=tuple(bins), smallest_change=SmallestChange(near(0.8), near(1.4), 0.9),
        by_group=tuple(GroupFigures("sex", value, 150, 8, figures) for value in ("f", "m")),
        coverage=Coverage(0.9, near(0.91), 1.8, near(0.92), 2.1, thirds),
    )  # fmt: skip


def near(value: float) -> Estimate:
    return Estimate(value, value - 0.08, value + 0.07)


def comparisons(scored: Sequence[Result]) -> list[Comparison]:
    ours = {(r.task, r.mode): r for r in scored if r.ours}
    made = []
    for other in scored:
        mine = ours.get((other.task, other.mode))
        if mine is not None and not other.ours:
            gains = {}
            for metric in mine.metrics:
                gain = (mine.estimates[metric].value - other.estimates[metric].value) * (-1 if metric == "mae" else 1)
                gains[metric] = Gain(gain, gain - 0.1, gain + 0.1, "", 0.004, 0.03 if abs(gain) > 0.1 else 0.4)
            made.append(Comparison(other.task, other.mode, other.method, gains))
    return made


def behind(many_artifacts: int = 60) -> Behind:
    rows = [
        {"epoch": e, "s": 10 / (1 + e // 4), "loss_inter": 4 / e, "loss_intra": 3 / e,
         "held_out": {"loss_inter": 4.2 / e, "loss_intra": 3.1 / e},
         "validation": {"corr": 1 - 1 / (e + 1), "mae": 1.0, "top1": 0.9}}
        for e in range(1, 13)
    ]  # fmt: skip
    config = {
        "backbone": "resnet50", "image_size_px": 224, "learning": "both", "target": "absolute", "curriculum": True,
        "epochs": 12, "pairs_per_step": 1024,
    }  # fmt: skip
    made = Pretraining(
        config, 31_500_000, 225_000, ("dcgan", "procedural"), charts(rows),
        (Sheet("dcgan", picture(1200, 1400)), Sheet("procedural", picture(1200, 1400))), None, False,
    )  # fmt: skip
    uri = "s3://a-bucket-with-a-long-name/artifacts/transfer/" + "0123456789abcdef" * 2
    origins = [
        Origin("transfer", "au12, comface, linear", f"{uri}{i:04d}", "ab" * 32, {}, None) for i in range(many_artifacts)
    ]
    card = Card(
        "disfa", "disfa", True, 27, 130_815, 120_000, "4,000 to 4,845, median 4845",
        (histogram("disfa", [(str(v), 20_000 // (v + 1)) for v in range(6)], "au12"),
         histogram("disfa", [(str(v), 10_000 // (v + 1)) for v in range(6)], "au6")),
        (("no face", 10_000), ("face too small", 815)), "120,000 faces by the data set's own landmarks",
        ("the video of one subject is 3 frames shorter than its labels",), (),
    )  # fmt: skip
    return Behind(
        header=[
            Line("Made on", "2026-11-28 07:00 UTC"),
            Line("Command", "comface run --profile paper --set pretrain.epochs=12 " * 4, True),
            Line("Source code", "commit 0123456789abcdef0123456789abcdef01234567 (clean)"),
            Line("Machines", "32 × NVIDIA A100-SXM4-80GB; Intel(R) Xeon(R), 64 cores"),
            Line("Time", "22.4 hours from the start of this run to this report; 704.00 GPU-hours"),
        ],
        citation="ComFace 0.2.0 (0123456789ab), report 0123456789abcdef0123, 2026-11-28 07:00 UTC",
        pretraining=made, trained=trained(), cards=[card, card], origins=origins,
        pictures={"saliency": picture(1100, 500)},
    )  # fmt: skip


def trained() -> dict[str, Trained]:
    return {"comface": Trained("both", "absolute", True, "resnet50", 35_000_000)}


def run() -> RunFacts:
    return RunFacts("comface run", "paper", ("A note.",), about=about(), started=0.0, now=1.0)


def picture(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((width, height), 60).convert("RGB").save(buffer, "JPEG", quality=70)
    return buffer.getvalue()
