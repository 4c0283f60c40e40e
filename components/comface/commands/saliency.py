"""`comface saliency`: where methods look in a photo (Eigen-CAM, Figure 4 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from comface.commands.options import BACKBONE, METHOD, METHOD_HELP, configured, output_option
from comface.commands.surface import PATH, argument, command, flag, option
from comface.errors import ComfaceError, ConfigurationError
from comface.files import check_output, write_file
from comface.plan.chosen import Chosen
from comface.runtime.extras import check_extras
from comface.runtime.output import say

if TYPE_CHECKING:
    from comface.faces.detection import Pixels
    from comface.faces.regions import Region

MOST_PX = 640
"""Longest side of the photo in the picture."""


@command(
    example="comface saliency --method imagenet photo.jpg --output map.npy\n"
    "comface saliency --method imagenet --method dlib --method comface --align photo.jpg --output saliency.png"
)
@option("--method methods", None, f"{METHOD_HELP}; may be repeated", METHOD, required=True, multiple=True)
@option(
    "--weights",
    "[METHOD=]FILE",
    "weight file; its type is detected from its content. With several methods, name the method; may be repeated",
    multiple=True,
)
@BACKBONE
@flag("--align", "find the face and align it first, as evaluation does (default: take the image as it is)")
@argument("image", "IMAGE", "image file", PATH)
@output_option("OUT.png|OUT.npy", "a picture, or the map of one method as float32 (H,W) at the network's resolution")
@configured()
def saliency(
    methods: tuple[str, ...],
    weights: tuple[str, ...],
    backbone: str | None,
    align: bool,
    image: Path,
    output: Path,
    chosen: Chosen,
) -> None:
    """Show where methods look in a photo (Eigen-CAM, sign-corrected).

    The picture has the photo with the regions of the face, then one panel per method.
    """
    from comface.artifacts.arrays import array_bytes
    from comface.faces.photos import read_photo
    from comface.methods import method as method_called
    from comface.methods.saliency import saliency_of_face, saliency_of_image
    from comface.python.functions import load_encoder

    files = _files(methods, weights)
    _check(methods, output, [image, *files.values()])
    photo_HW3 = read_photo(image, opaque=not align)
    face_SS3 = _aligned(photo_HW3, str(image)) if align else None
    maps = []
    for name in methods:
        wanted = method_called(name)
        of_method = backbone if wanted.reads_backbone or len(methods) == 1 else None
        encoder = load_encoder(name, files.get(name), of_method, chosen.reading())
        if face_SS3 is None:
            maps.append(saliency_of_image(encoder, photo_HW3, name, wanted.title))
        else:
            maps.append(saliency_of_face(encoder, face_SS3, name, wanted.title))
    if output.suffix.lower() == ".npy":
        write_file(output, array_bytes(maps[0].map_hw), private=True)
        return
    from comface.methods.saliency_picture import picture

    shown_HW3, regions = _with_regions(photo_HW3) if face_SS3 is None else _of_frame(face_SS3)
    write_file(output, picture(shown_HW3, maps, regions), private=True)


def _check(methods: Sequence[str], output: Path, inputs: Sequence[Path]) -> None:
    kind = output.suffix.lower()
    if kind not in (".png", ".npy"):
        raise ConfigurationError(f"The output '{output}' ends neither in .png nor in .npy; rename it.")
    if kind == ".npy" and len(methods) > 1:
        raise ConfigurationError("A .npy file holds the map of one method; give one --method, or a .png as output.")
    if len(set(methods)) < len(methods):
        raise ConfigurationError("A --method is given twice; name each method once.")
    if kind == ".png":
        check_extras("comface saliency --output OUT.png", "train")
    check_output(output, inputs)


def _files(methods: Sequence[str], weights: Sequence[str]) -> dict[str, Path]:
    """Method -> weight file, from [METHOD=]FILE. Raises ConfigurationError if it is not clear which method is meant."""
    files: dict[str, Path] = {}
    for each in weights:
        name, separator, path = each.partition("=")
        if not separator or name not in methods:
            if len(methods) > 1:
                raise ConfigurationError(
                    f"--weights '{each}' does not say whose weights they are; write METHOD=FILE with one of "
                    f"{', '.join(methods)}."
                )
            name, path = methods[0], each
        if name in files:
            raise ConfigurationError(f"--weights of '{name}' is given twice; give one file per method.")
        files[name] = Path(path)
    return files


def _aligned(photo_HW3: Pixels, what: str) -> Pixels:
    from comface.datasets.config import FACE_PX
    from comface.faces.detection import align, find_face

    return align(photo_HW3, find_face(photo_HW3, f"'{what}'").points_52, FACE_PX)


def _of_frame(face_SS3: Pixels) -> tuple[Pixels, list[Region]]:
    from comface.faces.regions import eyes_of_frame, face_regions

    return face_SS3, face_regions(eyes_of_frame(face_SS3.shape[0]))


def _with_regions(photo_HW3: Pixels) -> tuple[Pixels, list[Region]]:
    """The photo at a size for the picture, and the regions of its face; none if no face is found."""
    from comface.faces.detection import eye_centres, find_face
    from comface.faces.framing import resized
    from comface.faces.regions import face_regions

    height, width = photo_HW3.shape[:2]
    scale = min(1.0, MOST_PX / max(height, width))
    shown_HW3 = (
        resized(photo_HW3, max(1, round(width * scale)), max(1, round(height * scale))) if scale < 1 else photo_HW3
    )
    try:
        eyes_22 = eye_centres(find_face(photo_HW3).points_52)
    except ComfaceError as error:
        say(f"comface: no regions are marked: {error}")
        return shown_HW3, []
    return shown_HW3, face_regions((eyes_22 + 0.5) * scale - 0.5)
