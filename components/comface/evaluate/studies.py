"""Tables 7 (ablation) and 8 (backbones) and figure 3 (scale): the variants of ComFace, told by what they were trained
with.

In: the results, and the settings of the backbone behind each method (from its manifest). Out: tables, and the points of
the curve. A variant is recognised by its settings, not by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comface.evaluate import paper
from comface.evaluate.results import Result
from comface.evaluate.table import Heading, Row, Table, Value
from comface.evaluate.tables import HEADINGS, tasks_of
from comface.methods import challenger, method
from comface.tasks.config import mode_title
from comface.tasks.registry import title

BACKBONES = {"resnet18": "ResNet18", "resnet50": "ResNet50", "resnet101": "ResNet101", "vit_b_16": "ViT-B/16"}
METRIC = {"edema-a": "acc", "edema-b": "acc", "edema-a-to-b": "acc"}
"""What tables 7 and 8 give of a task; of all others the correlation."""
TABLE7 = {
    ("inter", "absolute", True): "comface:inter",
    ("intra", "absolute", True): "comface:intra",
    ("both", "absolute", True): "comface",
    ("both", "signed", True): "comface:signed",
    ("both", "absolute", False): "comface:no-curriculum",
}
"""(learning, target, curriculum) → the method of that row in paper.csv, rows (a) to (e)."""
TABLE8 = {
    "resnet18": "comface:resnet18", "resnet50": "comface", "resnet101": "comface:resnet101",
    "vit_b_16": "comface:vit_b_16",
}  # fmt: skip


@dataclass(frozen=True)
class Trained:
    """What a backbone was trained with."""

    learning: str
    target: str
    curriculum: bool
    backbone: str
    images: int | None

    @property
    def ablated(self) -> tuple[str, str, bool]:
        return self.learning, self.target, self.curriculum


def ablation(results: Sequence[Result], trained: Mapping[str, Trained]) -> list[Table]:
    """Table 7: variants that differ in learning, target or curriculum; a table per mode."""
    alike = _like_ours(trained, lambda t: (t.backbone, t.images))
    if len({each.ablated for each in alike.values()}) < 2:
        return []
    settings = (Heading("learning", "learning"), Heading("target", "target"), Heading("curriculum", "curriculum"))

    def told(each: Trained) -> tuple[Value, ...]:
        target = {"absolute": "|Δα|", "signed": "Δα"}.get(each.target, each.target)
        return each.learning, target, "yes" if each.curriculum else "no"

    return _tables(
        "ablation", "Table 7, ablation", settings, told, results, _sorted(alike, TABLE7, lambda t: t.ablated)
    )


def backbones(results: Sequence[Result], trained: Mapping[str, Trained]) -> list[Table]:
    """Table 8: variants that differ in the network only."""
    alike = _like_ours(trained, lambda t: (*t.ablated, t.images))
    if len({each.backbone for each in alike.values()}) < 2:
        return []
    settings = (Heading("backbone", "backbone"),)

    def told(each: Trained) -> tuple[Value, ...]:
        return (BACKBONES.get(each.backbone, each.backbone),)

    return _tables("backbones", "Table 8, backbones", settings, told, results,
                   _sorted(alike, TABLE8, lambda t: t.backbone))  # fmt: skip


Point = tuple[int, float, float, float]
"""(images, figure, ends of its interval)."""


def scale(results: Sequence[Result], trained: Mapping[str, Trained]) -> dict[tuple[str, str], list[Point]]:
    """Figure 3: (task, mode) → points of variants that differ in the number of images only."""
    alike = _like_ours(trained, lambda t: (*t.ablated, t.backbone))
    if len({each.images for each in alike.values()} - {None}) < 2:
        return {}
    found: dict[tuple[str, str], list[Point]] = {}
    for result in results:
        images = alike[result.method].images if result.method in alike else None
        if images is not None:
            corr = result.estimates["corr"]
            found.setdefault((result.task, result.mode), []).append((images, corr.value, corr.low, corr.high))
    return {place: sorted(points) for place, points in found.items() if len(points) > 1}


def _like_ours(trained: Mapping[str, Trained], same: Callable[[Trained], object]) -> dict[str, Trained]:
    """The variants whose `same` settings are those of ComFace itself."""
    ours = trained.get(challenger().name)
    return {name: each for name, each in trained.items() if ours is not None and same(each) == same(ours)}


Variants = Sequence[tuple[str, Trained, str | None]]
"""(method, its training, the method of that row in paper.csv)."""


def _sorted(variants: Mapping[str, Trained], rows: Mapping[Any, str], key: Callable[[Trained], object]) -> Variants:
    """In the order of the paper's rows; what the paper does not have follows."""
    order = list(rows)
    found = [(name, each, rows.get(key(each))) for name, each in variants.items()]
    return sorted(found, key=lambda v: order.index(key(v[1])) if key(v[1]) in rows else len(order))


def _tables(
    name: str,
    caption: str,
    settings: tuple[Heading, ...],
    told: Callable[[Trained], tuple[Value, ...]],
    results: Sequence[Result],
    variants: Variants,
) -> list[Table]:
    tables = []
    names = {variant for variant, _, _ in variants}
    chosen = [result for result in results if result.method in names]
    for mode in dict.fromkeys(result.mode for result in chosen):
        tasks = tasks_of([result for result in chosen if result.mode == mode])
        headings = tuple(
            Heading(
                f"{task}_{metric}", HEADINGS[metric], 1 if metric == "acc" else 3, metric == "acc", over=title(task)
            )
            for task in tasks
            for metric in [METRIC.get(task, "corr")]
        )
        rows = []
        for variant, each, published in variants:
            mine = {r.task: r for r in chosen if (r.method, r.mode) == (variant, mode)}
            cells = [mine[t].estimates[METRIC.get(t, "corr")] if t in mine else None for t in tasks]
            figures = [paper.figures().get((t, mode, published or "", METRIC.get(t, "corr"))) for t in tasks]
            beside = {
                number + len(settings): f"paper {heading.text(figure)}"
                for number, (heading, figure) in enumerate(zip(headings, figures, strict=True))
                if figure is not None
            }
            kind = "ours" if method(variant).challenger else ""
            rows.append(Row(method(variant).title, (*told(each), *cells), kind, beside=beside))
        title_of = f"{caption}, {mode_title(mode).lower()}"
        tables.append(Table(f"{name}-{mode}", title_of, "Variant", settings + headings, tuple(rows)))
    return tables
