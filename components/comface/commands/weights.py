"""`comface convert`: converts a published weight file to safetensors with provenance."""

from __future__ import annotations

from pathlib import Path

from comface.commands.options import output_option
from comface.commands.surface import PATH, argument, command, option


@command(
    name="convert",
    example="comface convert stylegan3-r-ffhq-1024x1024.pkl --output stylegan3-r.safetensors "
    "--licence 'Nvidia Source Code License, non-commercial'",
)
@argument("file", "FILE", "the published weight file", PATH)
@output_option("OUT.safetensors", "output file")
@option("--licence", "TEXT", "licence of the weights, recorded in the provenance")
def convert(file: Path, output: Path, licence: str | None) -> None:
    """Convert a published StyleGAN weight file to safetensors with provenance.

    Reads .pkl, .pth, .pt and .safetensors files without executing code in them, and writes the provenance beside the
    output (NAME.safetensors.json).
    """
    from comface.generators import conversion as converted

    facts = converted.convert(file, output, licence)
    print(
        f"{output}: {facts['family']}, {facts['image_size_px']} px, {facts['parameters']:,} parameters, "
        f"licence {facts['licence']}"
    )
    for part in ("w_avg", "noise"):
        if part in facts["notes"]:
            print(f"{part}: {facts['notes'][part]['how']} (seed {facts['notes'][part]['seed']})")
