"""Checks the statistics of the report and of the gate by simulation.

    python benchmarks/simulations.py --repetitions 2500
    python benchmarks/simulations.py --parts gate --repetitions 2000 --subjects 20 40 80 160

In: nothing; people are simulated. Out: tables of intervals, family-wise error, prediction intervals, and the gate. The
people differ in how much their photos change, in slope, offset and noise of their estimates, and the noise may have
heavy tails, so that pairs of one person are alike and people are not. The true figures are those of 40,000 people.
tests/benchmarks/test_simulations.py asserts the results.

Legend: S subjects, P pairs per subject.
"""

from __future__ import annotations

import argparse
import functools
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from comface.register.config import Margin, RegisterConfig
from comface.register.decision import CANNOT_TELL, KEEP, PROMOTE, GateDecision
from comface.register.gate import Metric, decide
from comface.register.paired import Champion, Paired
from comface.tasks.agreement import Scored, agreement
from comface.tasks.comparisons import Difference, corrected
from comface.tasks.conformal import Errors, Width, calibrate
from comface.tasks.intervals import interval, resample_counts, sample
from comface.tasks.metrics import FIGURES, SMALLER_IS_BETTER, Estimate

Floats = NDArray[np.float64]
PAIRS, MANY = 20, 40_000
KINDS = ("alike", "different")
"""`different`: people differ in everything, and the noise has heavy tails (Student, 4 degrees of freedom)."""


@dataclass(frozen=True)
class People:
    """The changes (S,P) and the estimates of two methods, the second of which is worse."""

    change_SP: Floats
    first_SP: Floats
    second_SP: Floats


def people(subjects: int, rng: np.random.Generator, kind: str) -> People:
    shape = (subjects, PAIRS)
    different = kind == "different"
    spread_S = np.exp(rng.normal(0, 0.4 if different else 0.0, subjects))
    slope_S, offset_S = rng.normal(0.7, 0.25, subjects), rng.normal(0, 0.4, subjects)
    size_S = np.exp(rng.normal(-0.1, 0.4, subjects))
    noise_SP = rng.standard_t(4, shape) / np.sqrt(2) if different else rng.normal(size=shape)
    change_SP = rng.normal(size=shape) * spread_S[:, None]
    first_SP = slope_S[:, None] * change_SP + offset_S[:, None] + size_S[:, None] * noise_SP
    slope_S = 0.6 * slope_S + rng.normal(0.1, 0.15, subjects)
    noise_SP = 0.6 * noise_SP + 0.8 * rng.normal(size=shape)
    second_SP = slope_S[:, None] * change_SP + 0.5 * offset_S[:, None] + size_S[:, None] * noise_SP
    return People(change_SP, first_SP, second_SP)


def figures(made: People, resamples: int, seed: int) -> dict[str, Estimate]:
    """Every figure of the report with its 95 % interval."""
    subjects, pairs = made.change_SP.shape
    counts_BS = resample_counts(subjects, resamples, seed)
    subject_P = np.repeat(np.arange(subjects), pairs)
    first, second = (
        Scored(subject_P, made.change_SP.ravel(), each_SP.ravel()[None], counts_BS, 0.95)
        for each_SP in (made.first_SP, made.second_SP)
    )
    sums_RS, other_RS = first.sums(), second.sums()
    found = {metric: first.estimate(metric, sums_RS) for metric in FIGURES}
    for metric, figure in FIGURES.items():
        sign = -1 if metric in SMALLER_IS_BETTER else 1
        drawn = [sample(figure, each, counts_BS) for each in (sums_RS, other_RS)][::sign]
        found[f"gain in {metric}"] = interval(drawn[0].minus(drawn[1]), counts_BS, 0.95)
    limits = agreement(first)
    found |= {"bias": limits.bias, "lower limit": limits.lower, "upper limit": limits.upper}
    return found | {"detectable change": limits.half_width}


def coverage(subjects: int, kind: str, repetitions: int, resamples: int = 600, seed: int = 0) -> dict[str, float]:
    """Figure → share of the repetitions whose interval contains the true figure."""
    truth = true_figures(kind)
    hits = dict.fromkeys(truth, 0)
    for repetition in range(repetitions):
        rng = np.random.default_rng([seed, subjects, repetition])
        for name, each in figures(people(subjects, rng, kind), resamples, repetition).items():
            below, above = truth[name] < each.low, truth[name] > each.high  # an end that is missing is open
            hits[name] += not below and not above and np.isfinite([each.low, each.high]).any()
    return {name: count / repetitions for name, count in hits.items()}


def true_figures(kind: str) -> dict[str, float]:
    many = people(MANY, np.random.default_rng(99), kind)
    return {name: each.value for name, each in figures(many, 1, 0).items()}


def family_wise_error(
    subjects: int, alike: bool, repetitions: int, methods: int = 6, swaps: int = 399, seed: int = 0
) -> tuple[float, float]:
    """Shares of repetitions with a wrong word, and of uncorrected p-values up to 0.05, if all methods are equally good.
    There are 3 tasks, two of them on the same people. Not `alike`: the estimates of every method have another scale,
    and the noise of half of them has heavy tails; then only correlation and direction are equally good."""
    wrong, small = 0, []
    metrics = [metric for metric in FIGURES if alike or metric != "mae"]
    for repetition in range(repetitions):
        rng = np.random.default_rng([seed, subjects, repetition])
        family = [
            Difference(str(number), dataset, Estimate(0.0), FIGURES[metric], results[0], other)
            for dataset in ("first", "first", "second")
            for results in [_equally_good(subjects, methods, alike, rng)]
            for number, other in enumerate(results[1:])
            for metric in metrics
        ]
        gains = corrected(family, repetition, swaps)
        wrong += any(gain.corrected_p <= 0.05 for gain in gains)
        small += [gain.p <= 0.05 for gain in gains]
    return wrong / repetitions, float(np.mean(small))


def _equally_good(subjects: int, methods: int, alike: bool, rng: np.random.Generator) -> list[Mapping[str, Floats]]:
    """The sums of ComFace and of the other methods on one task. A part of their errors is common to all."""
    shape = (subjects, PAIRS)
    change_SP = rng.normal(size=shape) * np.exp(rng.normal(0, 0.4, subjects))[:, None]
    subject_P = np.repeat(np.arange(subjects), PAIRS)

    def errors(heavy: bool) -> Floats:
        noise_SP = rng.standard_t(3, shape) / np.sqrt(3) if heavy else rng.normal(size=shape)
        size_S, offset_S = np.exp(rng.normal(-0.1, 0.5, subjects)), rng.normal(0, 0.4, subjects)
        slope_S = rng.normal(0.6, 0.25, subjects)
        return slope_S[:, None] * change_SP + offset_S[:, None] + size_S[:, None] * noise_SP

    common_SP, found = errors(False), []
    for number in range(methods + 1):
        predicted_SP = 0.5 * common_SP + 0.5 * errors(not alike and number % 2 == 1)
        predicted_SP *= 1.0 if alike else rng.uniform(0.3, 1.5)
        tested = Scored(subject_P, change_SP.ravel(), predicted_SP.ravel()[None], np.ones((1, subjects)), 0.95)
        found.append(tested.sums())
    return found


def prediction_intervals(
    subjects: int, repetitions: int, nominal: float = 0.9, seed: int = 0
) -> dict[str, list[float]]:
    """Coverage on new people: overall, and in thirds of their pairs from photos that are alike to unlike; then the mean
    half width. `local`: the width depends on the photos, `constant`: it does not."""
    found: dict[str, list[list[float]]] = {"local": [], "constant": []}
    for repetition in range(repetitions):
        rng = np.random.default_rng([seed, subjects, repetition])
        known, new = photos(subjects, rng), photos(20, rng)
        widths = {"local": calibrate(known, nominal), "constant": calibrate(known.alike(), nominal)}
        expected_P = new.difference_PC @ np.array([0.8, 0.3, 0.0])
        third_P = np.searchsorted(np.quantile(expected_P, (1 / 3, 2 / 3)), expected_P)
        for name, width in widths.items():
            assert isinstance(width, Width)
            weight_C = np.array([width.weights.get(each, 0.0) for each in new.names])
            half_P = width.constant + new.difference_PC @ weight_C
            covered_P = new.error_P <= half_P
            thirds = [float(covered_P[third_P == third].mean()) for third in range(3)]
            found[name].append([float(covered_P.mean()), *thirds, float(half_P.mean())])
    return {name: np.mean(rows, axis=0).tolist() for name, rows in found.items()}


def photos(subjects: int, rng: np.random.Generator, pairs: int = 30) -> Errors:
    """Errors that grow with the differences in light and pose, not with those in sharpness, and differ by person."""
    difference_PC = np.abs(rng.normal(size=(subjects * pairs, 3)))
    size_S = rng.lognormal(0, 0.4, subjects)
    sd_P = np.repeat(size_S, pairs) * (0.3 + difference_PC @ np.array([0.8, 0.3, 0.0]))
    subject_P = np.repeat(np.arange(subjects), pairs)
    return Errors(subject_P, np.abs(rng.normal(size=len(sd_P)) * sd_P), difference_PC, ("light", "turn", "sharpness"))


MARGINS: dict[Literal["corr", "mae"], float] = {"corr": 0.05, "mae": 0.08}
"""Of the gate in simulation, in correlation and in the unit of the change (a tenth of the MAE)."""


def rivals(subjects: int, rng: np.random.Generator, kind: str, noise: float, pairs: int = PAIRS) -> People:
    """Estimates of a champion and of a challenger that was trained anew. Slope, offset and size of the errors differ
    from person to person, and are partly the same for both models; so is the error of a single pair. `noise`: size of
    the challenger's errors beside the champion's."""
    shape, different = (subjects, pairs), kind == "different"
    change_SP = rng.normal(size=shape) * np.exp(rng.normal(0, 0.4 if different else 0.0, subjects))[:, None]
    size_S = np.exp(rng.normal(-0.3, 0.4 if different else 0.2, subjects))
    common, estimates = _errors(rng, shape, different), []
    for scale in (1.0, noise):
        own = _errors(rng, shape, different)
        slope_S, offset_S, noise_SP = (0.8 * a + 0.6 * b for a, b in zip(common, own, strict=True))
        error_SP = 0.2 * slope_S[:, None] * change_SP + 0.3 * offset_S[:, None] + size_S[:, None] * noise_SP
        estimates.append(0.8 * change_SP + scale * error_SP)
    return People(change_SP, *estimates)


def _errors(rng: np.random.Generator, shape: tuple[int, int], heavy: bool) -> tuple[Floats, Floats, Floats]:
    """(slope, offset) per person and noise per pair, each with a standard deviation of 1."""
    noise_SP = rng.standard_t(4, shape) / np.sqrt(2) if heavy else rng.normal(size=shape)
    return rng.normal(size=shape[0]), rng.normal(size=shape[0]), noise_SP


def true_gain(metric: str, made: People) -> float:
    """Of the challenger (second) over the champion (first)."""
    flat = [each.ravel() for each in (made.change_SP, made.first_SP, made.second_SP)]
    if metric == "mae":
        champion, challenger = (float(np.abs(each - flat[0]).mean()) for each in flat[1:])
        return champion - challenger
    champion, challenger = (float(np.corrcoef(flat[0], each)[0, 1]) for each in flat[1:])
    return challenger - champion


@functools.cache
def noise_for(metric: str, kind: str, gain: float) -> float:
    """The size of the challenger's errors with which its true gain is `gain`, by bisection over MANY people. Without a
    gain it is 1: both models then have errors of the same distribution."""
    if not gain:
        return 1.0
    low, high = 0.5, 2.0
    for _ in range(12):
        middle = (low + high) / 2
        above = true_gain(metric, rivals(MANY, np.random.default_rng(99), kind, middle)) > gain
        low, high = (middle, high) if above else (low, middle)
    return (low + high) / 2


@dataclass(frozen=True)
class Comparison:
    """Of a challenger with a champion in simulation; `confidence`: of the gate's intervals."""

    subjects: int
    kind: str
    metric: Literal["corr", "mae"] = "corr"
    pairs: int = PAIRS
    confidence: float = 0.95
    seed: int = 0


def gate_decisions(of: Comparison, gains: tuple[float, ...], repetitions: int) -> Iterator[GateDecision]:
    """By the gate's own code. `gains`: the true gain on each task, whose people are others."""
    names = [f"task-{number}" for number in range(len(gains))]
    margins = tuple(Margin(task=name, metric=of.metric, margin=MARGINS[of.metric]) for name in names)
    config = RegisterConfig(must_beat=None, margins=margins, confidence=of.confidence)
    metrics = [Metric(name, "comface", "linear", 0.5) for name in names]
    noises = [noise_for(of.metric, of.kind, gain) for gain in gains]
    subject_P = np.repeat(np.arange(of.subjects), of.pairs)
    for repetition in range(repetitions):
        rng, pairs = np.random.default_rng([of.seed, of.subjects, repetition]), []
        for name, noise in zip(names, noises, strict=True):
            made = rivals(of.subjects, rng, of.kind, noise, of.pairs)
            estimates = made.second_SP.ravel()[None], made.first_SP.ravel()[None]
            pairs.append(Paired(name, "linear", "linear", "", False, subject_P, made.change_SP.ravel(), *estimates))
        yield decide(metrics, config, Champion("comface@v1", tuple(pairs)))


def gate_outcomes(of: Comparison, gains: tuple[float, ...], repetitions: int) -> dict[str, float]:
    """Outcome → share of the repetitions."""
    counts = Counter(decision.outcome for decision in gate_decisions(of, gains, repetitions))
    return {outcome: counts[outcome] / repetitions for outcome in (PROMOTE, KEEP, CANNOT_TELL)}


@dataclass(frozen=True)
class Powers:
    """Of challengers that are as good as the champion. `said`: the mean of the power that the gate states; `margin`:
    the median of the margins that it names for a power of 80 %; `at_margin`: how often a challenger is promoted at a
    margin that was named in another repetition."""

    promoted: float
    said: float
    margin: float
    at_margin: float


def gate_power(of: Comparison, repetitions: int) -> Powers:
    checks = [decision.checks[0] for decision in gate_decisions(of, (0.0,), repetitions)]
    low_N, limit_N, said_N, margin_N = (
        np.array([getattr(check, name) for check in checks], dtype=np.float64)
        for name in ("low", "limit", "power", "least_margin")
    )
    passed_NN = low_N[None, :] > -margin_N[:, None]  # a check passes if its whole interval lies above minus the margin
    others_NN = ~np.eye(len(checks), dtype=bool)
    return Powers(
        float((low_N > limit_N).mean()),
        float(said_N.mean()),
        float(np.median(margin_N)),
        float(passed_NN[others_NN].mean()),
    )


def print_gate(given: argparse.Namespace) -> None:
    """False promotions of challengers at the edge of the margin, the power for those that are as good as the champion
    (half of the repetitions), and several tasks (a quarter of them)."""
    print(f"\nThe gate: {given.pairs} pairs per person, shares in percent\n")
    heads = ("people", "metric, margin", "subjects", "promoted at the margin", "kept out at the margin",
             "power", "power as stated", "margin named for 80 %", "power at that margin")  # fmt: skip
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    fixed = {"pairs": given.pairs, "confidence": given.confidence}
    for count, kind, (metric, margin) in itertools.product(given.subjects, KINDS, MARGINS.items()):
        of = Comparison(count, kind, metric, seed=given.seed, **fixed)
        null = gate_outcomes(of, (-margin,), given.repetitions)
        good = gate_power(replace(of, seed=given.seed + 1), max(given.repetitions // 2, 2))
        shares = (null[PROMOTE], null[KEEP], good.promoted, good.said)
        named = f"{good.margin:.3f} | {100 * good.at_margin:.1f}"
        told = " | ".join(f"{100 * share:.1f}" for share in shares)
        print(f"| {kind} | {metric}, {margin} | {count} | {told} | {named} |", flush=True)
    print("\n| people | true gain in correlation | subjects | promote | keep | cannot tell |" + "\n" + "|---" * 6 + "|")
    margin = MARGINS["corr"]
    each, one = ("at the margin on each of 4 tasks", (-margin,) * 4), ("on one of 4, 0 on three", (-margin, 0, 0, 0))
    for kind, ((words, gains), count) in itertools.product(
        KINDS, ((each, given.subjects[0]), (one, given.subjects[-1]))
    ):
        of = Comparison(count, kind, seed=given.seed, **fixed)
        found = gate_outcomes(of, gains, max(given.repetitions // 4, 2))
        shares = " | ".join(f"{100 * share:.1f}" for share in found.values())
        print(f"| {kind} | {words} | {count} | {shares} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=2500, help="repetitions per row (default: 2500)")
    parser.add_argument("--subjects", type=int, nargs="+", default=[8, 10, 15, 20, 30, 60])
    parser.add_argument("--seed", type=int, default=0, help="of the part gate (default: 0)")
    parser.add_argument("--pairs", type=int, default=PAIRS, help=f"per person in the part gate (default: {PAIRS})")
    parser.add_argument("--confidence", type=float, default=0.95, help="of the gate's intervals (default: 0.95)")
    parser.add_argument("--parts", nargs="+", choices=("report", "gate"), default=["report", "gate"])
    given = parser.parse_args()
    if "report" in given.parts:
        print_report(given)
    if "gate" in given.parts:
        print_gate(given)


def print_report(given: argparse.Namespace) -> None:
    names = list(true_figures(KINDS[0]))
    print(f"Coverage of 95 % intervals, in percent\n| people | subjects | {' | '.join(names)} |")
    print("|---" * (len(names) + 2) + "|")
    for kind in KINDS:
        for subjects in given.subjects:
            found = coverage(subjects, kind, given.repetitions)
            print(f"| {kind} | {subjects} | {' | '.join(f'{100 * found[name]:.1f}' for name in names)} |", flush=True)
    print("\nFamily-wise error, in percent\n| methods | subjects | a wrong word | p up to 0.05 |\n|---|---|---|---|")
    for alike in (True, False):
        for subjects in given.subjects:
            wrong, small = family_wise_error(subjects, alike, given.repetitions // 4)
            kind = "alike" if alike else "different"
            print(f"| {kind} | {subjects} | {100 * wrong:.1f} | {100 * small:.1f} |", flush=True)
    print("\nCoverage of 90 % prediction intervals, in percent")
    print("| width | subjects | all | alike | medium | unlike | mean half width |\n|---|---|---|---|---|---|---|")
    for subjects in given.subjects:
        for name, row in prediction_intervals(subjects, given.repetitions // 10).items() if subjects > 9 else ():
            shares = " | ".join(f"{100 * share:.1f}" for share in row[:4])
            print(f"| {name} | {subjects} | {shares} | {row[4]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
