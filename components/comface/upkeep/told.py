"""What `comface forget` prints: what goes, what stays, and what to do about it. No line has the id of the person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from comface.plan.sizes import amount
from comface.runtime.progress import counted
from comface.upkeep.forget import Forgetting


def told(found: Forgetting) -> Iterator[str]:
    if not found.targets:
        yield (
            "An earlier removal was interrupted; its last part remains."
            if found.interrupted
            else "The store has no data of this person."
        )
        return
    names = ", ".join(sorted(found.datasets)) or "unfinished artifacts"
    yield f"Data sets with this person: {names} ({counted(found.photos, 'face')} of this person)"
    yield "Removed as a whole, because their manifests fix their bytes (the next run makes them without the person):"
    for folder in found.targets:
        going = found.goes(folder)
        size = sum(folder.objects[name].size_bytes for name in going)
        yield f"  {folder.address}  {counted(len(going), 'object')}, {amount(size)}"
    yield from _stays(found)


def _stays(found: Forgetting) -> Iterator[str]:
    if found.saw:
        kinds = Counter(folder.kind for folder in found.saw)
        made = ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items()))
        yield f"Made from data of this person, and kept: {made}"
        for folder in found.saw:
            if folder.kind in ("evaluation", "decision"):
                yield f"  {folder.address}  its report has figures and points of all people together, without names"
    if found.models:
        yield "Models that saw this person:"
        for reference in found.models:
            yield f"  {reference}"
        yield "  To be rid of them, run again without the person, promote the new model and delete the old one"
        yield "  (docs/privacy.md says what a model may reveal)."
    for name, place in sorted(found.datasets.items()):
        if place:
            yield f"Not removed here: delete the photos and rows of this person from the data set '{name}' at {place}"
    yield "Copies elsewhere (caches of other machines, backups, exported models, pictures) are not known to this store."
