"""Detects and aligns the faces of a data set once for all tasks and methods.

In: a data set in one of the layouts. Out: an artifact `faces`:

    faces-00000.npy …  uint8 (n,S,S,3), RGB, the project's framing (comface.faces.framing): the faces of 1,024 photos
    prints-00000.npy … uint8 (n,64,64): the print of each of these photos (comface.datasets.leaks)
    photos.json        one row per face: subject, labels {name: value}, session, phase, sha256 (of its pixels),
                       conditions (faces/conditions.py), groups {name: value} if there are any

Photos without a usable face are excluded and counted by reason, as are files that the data set's reader excludes. The
photos may show patients: apart from the rows themselves, only counts are logged or recorded.

Legend: n faces, S side length.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from comface.artifacts.facts import FacesFacts
from comface.artifacts.manifest import Artifact, Draft
from comface.artifacts.removal import refuse_forgotten
from comface.datasets import open_dataset
from comface.datasets.config import DataSource
from comface.datasets.copies import check_pixels, near_copies
from comface.datasets.dataset import Photo
from comface.datasets.place import artifact_folder, fingerprint, local_folder
from comface.datasets.registry import Layout
from comface.datasets.registry import layout as layout_called
from comface.errors import DataError
from comface.faces import REVISION as FACES
from comface.faces.detection import finder_files
from comface.runtime.progress import counted
from comface.store import Store
from comface.transfer.blocks import Block, aligned_blocks, rows_name
from comface.transfer.rows import read_faces as read_faces

logger = logging.getLogger(__name__)

REVISION = 6
"""Raise it when a change here or in datasets/ gives other faces, labels or rows for the same data set."""


def align_dataset(store: Store, name: str, source: DataSource, dataset: Artifact | None = None) -> Artifact:
    """Publish the `faces` artifact of the data set `name`, or return it if it exists. The data set is at `source.uri`,
    or is the artifact `dataset` (a rehearsal).

    Raises DataError if the data set is invalid or no face is found in it."""
    layout = layout_called(source.layout)
    address = source.model_dump(mode="json", exclude={"uri"}) | {"dataset": name, "files_sha256": finder_files()}
    address |= layout.decided_by()
    if dataset is not None:
        folder, inputs = None, {"dataset": dataset}
    else:
        folder, inputs = local_folder(source.uri), {}
        address["fingerprint"] = fingerprint(folder, source.uri)
    draft = Draft(store, "faces", address, inputs, {"align": REVISION, "faces": FACES})
    if (done := draft.published()) is not None:
        return done
    place = source.uri if dataset is None else dataset.uri
    data = open_dataset(source, folder or artifact_folder(inputs["dataset"]), place)
    photos = data.photos
    refuse_forgotten(store, name, (photo.subject for photo in photos), place)
    blocks = list(aligned_blocks(draft, photos, name, source))
    missed = sum((Counter(block.missed) for block in blocks), Counter[str]())
    rows = [row for block in blocks for row in block.rows]
    found = [photos[i] for block in blocks for i in block.found]
    if not found:
        raise DataError(
            f"No face was found in any of the {len(photos):,} photos of '{name}'; check the photos and the `uri`."
        )
    rehearsal = bool(dataset is not None and dataset.facts.get("rehearsal"))
    copies = [] if rehearsal else _copies(photos, blocks, layout, place)  # each photo of a rehearsal is drawn anew
    for remark in copies:
        logger.warning(f"The data set at '{place}': {remark}")
    draft.write_json("photos.json", rows)
    logger.info(f"{len(found):,} of {counted(len(photos), 'photo')} of {name} have a usable face")
    facts = FacesFacts(
        dataset=name,
        layout=source.layout,
        rehearsal=rehearsal,
        source=place,
        photos=len(photos),
        found=len(found),
        missed=dict(missed),
        left_out=dict(data.left_out),
        remarks=(*data.remarks, *copies),
        with_own_landmarks=sum(block.with_own_landmarks for block in blocks),
        subjects=len({photo.subject for photo in found}),
    )
    return draft.publish(facts.record(), working=[rows_name(number) for number in range(len(blocks))])


def _copies(photos: Sequence[Photo], blocks: Sequence[Block], layout: Layout, place: str) -> list[str]:
    """Return remarks about photos that may be copies. Raises DataError if two subjects or labels have the same picture.
    Frames of one video are not compared, because they are similar and can be identical."""
    if not layout.video:
        found = [photos[i] for block in blocks for i in block.found]
        check_pixels(found, [row["sha256"] for block in blocks for row in block.rows], layout.patients, place)
    prints = {i: print_SS for block in blocks for i, print_SS in block.prints.items()}
    return near_copies(photos, prints, layout, place)
