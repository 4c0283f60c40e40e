"""The page that the first step of a run shows in the KFP UI: what the run will do, and what it costs.

In: the configuration and its plans. Out: one HTML file without external resources.
"""

from __future__ import annotations

from html import escape

from comface.plan.command import command_of
from comface.plan.configuration import RunConfig
from comface.plan.consistency import dataset_names
from comface.plan.cost import Cost, Range, cost_of, money, shown, size
from comface.plan.step import Plans

STYLE = (
    "body{margin:1.2rem;font:15px/1.5 system-ui,sans-serif;max-width:62rem;color-scheme:light dark}"
    "table{border-collapse:collapse;margin:1rem 0}th,td{padding:.35rem .7rem;text-align:left;vertical-align:top;"
    "border-bottom:1px solid #8886}td.n{text-align:right;white-space:nowrap}tfoot td,tfoot th{font-weight:600}"
    ".note{border-left:3px solid #b26a00;padding:.3rem .9rem;margin:1rem 0}code{overflow-wrap:anywhere}"
)
HEADINGS = ("step", "work", "hours", "GPU-hours", "storage", "basis")


def plan_page(config: RunConfig, plans: Plans, price_per_gpu_hour: float = 0.0) -> str:
    """`price_per_gpu_hour`: in any currency; 0: no price is shown."""
    cost = cost_of(config)
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>Plan of the run</title>",
        f"<style>{STYLE}</style><body><h1>Plan of the run</h1>",
        "<p>Every check passed. The steps below start now.</p>",
        f"<p>{escape(cost.sizes.sentence())} {escape(cost.sentence())}</p>",
        _price(cost, price_per_gpu_hour),
        _rehearsal(config),
        *(f"<p class='note'>{escape(note)}</p>" for note in plans.evaluate.notes),
        *(
            f"<p class='note'>{escape(name)} is absent: {escape(why)}</p>"
            for name, why in plans.evaluate.absent.items()
        ),
        _table(cost),
        f"<p>The same run on one machine: <code>{escape(command_of(config))}</code></p>",
        f"<p>Artifacts are in <code>{escape(config.store)}</code>. What is there already is not made again, so a run "
        "can cost less than this.</p></body></html>",
    ]
    return "\n".join(part for part in parts if part)


def _price(cost: Cost, per_gpu_hour: float) -> str:
    if not cost.gpu_hours[1]:
        return "<p>It needs no GPU.</p>"
    if not per_gpu_hour:
        return "<p>Set <code>price_per_gpu_hour</code> to see its price.</p>"
    return (
        f"<p><strong>Price: {money(cost.price(per_gpu_hour))}</strong> for GPUs, at {per_gpu_hour:g} per GPU-hour. "
        "CPUs, memory and storage are not included.</p>"
    )


def _rehearsal(config: RunConfig) -> str:
    names = [name for name in dataset_names(config) if not config.data[name].uri]
    if not names:
        return ""
    return (
        f"<p class='note'><strong>Rehearsal:</strong> no URI is given for {escape(', '.join(names))}, so synthetic "
        "rehearsal data will be used. Figures from it say nothing about people.</p>"
    )


def _table(cost: Cost) -> str:
    head = "".join(f"<th scope='col'>{name}</th>" for name in HEADINGS)
    rows = [
        f"<tr><th scope='row'>{escape(row.step)}</th><td>{escape(row.what)}</td><td class='n'>{_hours(row.hours)}</td>"
        f"<td class='n'>{_hours(row.gpu_hours)}</td><td class='n'>{size(row.stored_bytes)}</td>"
        f"<td>{escape(row.basis)}</td></tr>"
        for row in cost.rows
    ]
    total = (
        f"<tr><th scope='row'>sum</th><td></td><td class='n'>{_hours(cost.hours)}</td>"
        f"<td class='n'>{_hours(cost.gpu_hours if cost.gpu_hours[1] else None)}</td>"
        f"<td class='n'>{size(sum(row.stored_bytes for row in cost.rows))}</td>"
        "<td>an estimate, without the steps that have no hours</td></tr>"
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody><tfoot>{total}</tfoot></table>"


def _hours(hours: Range | None) -> str:
    return "–" if hours is None else shown(hours)
