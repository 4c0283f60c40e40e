"""`comface verify`: traces every number to its inputs, and compares the files found here with those that were used."""

from __future__ import annotations

from comface.commands.options import REFERENCE, configured
from comface.commands.surface import argument, command
from comface.plan.chosen import Chosen


@command(example="comface verify comface@v3 --store file:///backup/store")
@argument("reference", "REF", f"{REFERENCE}; any other artifact too", required=False)
@configured()
def verify(reference: str | None, chosen: Chosen) -> None:
    """Follow an artifact's manifests back to its inputs and check every hash.

    A model is verified with its decision and its evaluation. References are followed inside the named store, so a copy
    of a store verifies itself. The weight files and data sets that are found here are compared with those that were
    used. The output also tells whether the installed code made each artifact; other code is not an error.
    """
    from comface.models.verification import verification
    from comface.store import open_store

    config = chosen.configuration()
    for line in verification(open_store(config.store), reference, config.weights):
        print(line)
