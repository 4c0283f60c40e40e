"""Figure 4 of the paper for the methods that took part: where each looks in one rehearsal face.

In: `transfer` artifacts, whose features contain an example face and its map (methods/example.py). Out: PNG bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

from comface.artifacts.facts import TransferFacts
from comface.artifacts.manifest import Artifact
from comface.faces.regions import eyes_of_frame, face_regions
from comface.methods import in_order
from comface.methods import method as method_called
from comface.methods.example import Example, read_example


def saliency_picture(transfers: Sequence[Artifact]) -> bytes | None:
    """The picture of the data set with the most methods, of several the first; None if no data set has an example."""
    sets: dict[str, dict[str, Example]] = {}
    for transfer in transfers:
        facts = transfer.facts_as(TransferFacts)
        of_method = sets.setdefault(facts.dataset or "", {})
        if "features" in transfer.manifest.inputs and facts.method not in of_method:
            found = read_example(transfer.input("features", "features"), method_called(facts.method).title)
            if found is not None:
                of_method[facts.method] = found
    dataset = max(sets, key=lambda name: len(sets[name]), default="")
    examples = sets.get(dataset)
    if not examples:
        return None
    from comface.methods.saliency_picture import picture

    shown = [examples[name] for name in in_order(examples)]
    face_SS3 = shown[0].face_SS3
    regions = face_regions(eyes_of_frame(face_SS3.shape[0]))
    maps = [example.saliency for example in shown]
    return picture(face_SS3, maps, regions, f"The face is from the rehearsal of {dataset}: it shows no person.")
