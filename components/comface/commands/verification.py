"""`comface verify`: traces an artifact to its inputs, and compares local files with those that were used."""

from __future__ import annotations

from comface.commands.options import REFERENCE, configured
from comface.commands.surface import argument, command
from comface.plan.chosen import Chosen


@command(example="comface verify comface@v3 --store file:///backup/store")
@argument("reference", "REF", f"{REFERENCE}; or the URI of any other artifact", required=False)
@configured()
def verify(reference: str | None, chosen: Chosen) -> None:
    """Trace an artifact back to its inputs through the manifests, and check every hash.

    A model is verified together with its decision and its evaluation. References are resolved inside the given store,
    so a copy of a store can be verified too. Local weight files and data sets are compared with those that were used.
    The output also shows whether each artifact was made by the installed code; other code is not an error.
    """
    from comface.models.verification import verification
    from comface.store import open_store

    config = chosen.configuration()
    for line in verification(open_store(config.store), reference, config.weights):
        print(line)
