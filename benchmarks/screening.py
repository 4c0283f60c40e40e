"""Effect of projecting out conditions: compares shipped and raw directions of `dcgan`, screened on the same tracks.

    python -m comface.directions.shipping --generator dcgan --samples 20000 --output directions-dcgan
    python benchmarks/screening.py --sample directions-dcgan --output screening-dcgan

In: the folder that the first command fills (latents, scores). Out: a table and a picture for each kind. The raw
directions are fitted here with the settings of the catalogue, but without conditions.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from comface.artifacts.facts import ScreeningFacts
from comface.directions.shipping import RECIPES, raw_direction
from comface.execution import set_threads_passive
from comface.generators.dcgan import DcganGenerator
from comface.screening.config import ScreeningConfig
from comface.screening.step import screen_composition
from comface.screening.table import text_table
from comface.store import FileStore
from comface.tracks.config import Share, SynthesizeConfig


class RawDirections(DcganGenerator):
    """`dcgan` with directions without projected-out conditions."""

    def __init__(self, sample: Path) -> None:
        super().__init__()
        latents_ND = np.load(sample / "latents.npy")
        self._raw = {
            name: raw_direction(latents_ND, np.load(sample / f"scores-{recipe.scorer}.npy"))
            for name, recipe in RECIPES.items()
        }

    def direction(self, attribute: str) -> torch.Tensor:
        return torch.from_numpy(self._raw[attribute])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--sample",
        type=Path,
        help="output folder of directions/shipping.py (default: measure the shipped directions only)",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("runs/screening-dcgan"), help="folder for pictures and artifacts"
    )
    parser.add_argument("--tracks", type=int, default=60, help="tracks per attribute")
    parser.add_argument("--alphas", type=int, default=7, help="alphas measured per track")
    given = parser.parse_args()
    composition = (Share(generator="dcgan", identities=2000, attributes=tuple(RECIPES)),)
    settings = SynthesizeConfig(composition=composition, alpha_step=1.0, image_size_px=64)
    config = ScreeningConfig(tracks=given.tracks, alphas=given.alphas)
    generators = {"shipped": DcganGenerator} | ({"raw": lambda: RawDirections(given.sample)} if given.sample else {})
    for name, make in generators.items():
        generator = make()
        store = FileStore(given.output.absolute() / "store")
        screening = screen_composition(store, config, settings, load=lambda *_, generator=generator: generator)
        (given.output / f"{name}.png").write_bytes(screening.read("screening.png"))
        print(f"{name}\n{text_table(screening.facts_as(ScreeningFacts))}\n{screening.uri}\n", flush=True)


if __name__ == "__main__":
    set_threads_passive()
    main()
