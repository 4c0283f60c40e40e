"""Read users' photos. The format is detected from the content, never from the name, and limited to an allow-list.

In: a regular file of at most 200 MB, or its bytes: JPEG, PNG, WEBP, TIFF, BMP, GIF (first frame), HEIC or AVIF. From
Python also an image of Pillow, or an array of uint8: (H,W), (H,W,3) in RGB, or (H,W,4) with alpha.
Out: RGB uint8 (H,W,3), upright, with transparent parts white. Only the orientation is read from Exif, so that other
broken tags do no harm. Any exception of a decoder becomes a DataError.

Legend: H, W height and width, C colour channels (with alpha, if there is one).
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from comface.errors import ComfaceError, ConfigurationError, DataError
from comface.faces.orientation import TURNS, exif_orientation, without_metadata
from comface.files import read_bounded

Pixels = NDArray[np.uint8]
Photo: TypeAlias = str | Path | bytes | Image.Image | Pixels
"""A path, the bytes of a file, an image of Pillow, or an array of uint8."""

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")
"""Formats that Pillow may open; pi-heif opens HEIC. Pillow supports 40 more; one is EPS, which it passes to
Ghostscript."""
SUPPORTED = "JPEG, PNG, WEBP, TIFF, BMP, GIF, HEIC, AVIF"
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")
AVIF_BRANDS = (b"avif", b"avis")
CONTAINER_BRANDS = (b"mif1", b"msf1")
"""Brands of a HEIF container; the compatible brands after them identify the codec."""

MAX_BYTES = 200_000_000
HEAD_BYTES = 1 << 17
MAX_PIXELS = 256_000_000
"""Limit for JPEG and HEIC: a phone's 200 megapixels, with a margin."""
MAX_WHOLE_PIXELS = 100_000_000
"""Limit for formats that cannot be decoded at half size: a WEBP of 34 bytes and 225 megapixels took 22 s and 4 GB."""
LARGE_PIXELS = 50_000_000
"""A larger photo is halved until it is below this: a face needs no more, and 200 megapixels need 1.2 GB."""
Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # Pillow's default, above which it warns, is smaller than a phone's photo


class TooManyPixels(DataError):
    """A photo above MAX_PIXELS or MAX_WHOLE_PIXELS."""


def read_photo(photo: Photo, what: str = "", whole: bool = False, opaque: bool = False) -> Pixels:
    """The pixels (H,W,3) of a photo. `what`: the subject of messages instead of the file's name (for photos of
    patients); `whole`: do not halve a very large photo (landmarks refer to its pixels); `opaque`: ignore transparency,
    as the official code of the methods does. Raises DataError, or ConfigurationError if the file is not readable or
    `photo` is of another type."""
    if isinstance(photo, (str, Path)):
        path = Path(photo)
        return decode_photo(_content(path, what), what or f"The photo '{path.name[:200]}'", whole, opaque)
    what = what or "The photo"
    if isinstance(photo, bytes):
        return decode_photo(photo, what, whole, opaque)
    image = _from_array(photo, what) if isinstance(photo, np.ndarray) else photo
    if not isinstance(image, Image.Image):
        raise ConfigurationError(
            f"{what} is of type {type(photo).__name__}; give a path, the bytes of a file, an image of Pillow or an "
            "array of uint8."
        )
    return _from_pillow(image, what, whole, opaque)


def _from_array(values: NDArray[Any], what: str) -> Image.Image:
    channels = values.shape[2:] or (1,)
    if values.dtype != np.uint8 or values.ndim not in (2, 3) or channels not in ((1,), (3,), (4,)) or not values.size:
        raise DataError(
            f"{what} is an array of shape {values.shape} and type {values.dtype}; give uint8 from 0 to 255 in RGB, "
            "(H, W, 3), or in grey, (H, W)."
        )
    return Image.fromarray(values[..., 0] if channels == (1,) and values.ndim == 3 else values)


def _from_pillow(image: Image.Image, what: str, whole: bool, opaque: bool) -> Pixels:
    """An image in memory, or one that Pillow has opened but not decoded. Its Exif orientation is applied, if Pillow
    has it."""
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(what, MAX_PIXELS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.load()
            orientation = exif_orientation(image.info["exif"])[0] if "exif" in image.info else 1
            rgb = _to_rgb(image, b"", opaque)
    except Exception as error:
        raise _unusable(what, error) from None
    return _upright(rgb, orientation, whole)


def check_photo(path: Path, what: str = "") -> None:
    """Check a photo's header without decoding the photo; usually the first kilobytes suffice. Raises as `read_photo`
    does."""
    called = what or f"The photo '{path.name[:200]}'"
    try:
        if path.stat().st_size <= MAX_BYTES:
            with path.open("rb") as file:
                _opened(file.read(HEAD_BYTES), called)
            return
    except (OSError, DataError):
        pass
    _opened(_content(path, what), called)


def pixels_of(data: bytes, what: str = "The photo") -> int:
    """The number of pixels that the header of a photo states; nothing is decoded. Raises DataError."""
    image = _opened(data, what)[0]
    width, height = image.size if isinstance(image, Image.Image) else image.size_mode[0]
    return int(width * height)


def decode_photo(data: bytes, what: str = "The photo", whole: bool = False, opaque: bool = False) -> Pixels:
    """The photo in the bytes `data`. Raises DataError."""
    opened, orientation, data = _opened(data, what)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata
            if isinstance(opened, Image.Image):
                image = opened
                if image.width * image.height > LARGE_PIXELS and not whole and image.format == "JPEG":
                    image.draft(None, (image.width // 2, image.height // 2))  # decoded at half its size
                image.load()
                if "exif" in image.info:
                    orientation = exif_orientation(image.info["exif"])[0]
            else:  # libheif applies the rotation; its Exif orientation only describes it
                pixels = opened.data
                size, mode = opened.size_mode
                image = Image.frombytes(mode, size, pixels, "raw", mode, opened.stride)
            rgb = _to_rgb(image, data, opaque)
    except Exception as error:  # decoders raise any exception: struct.error, IndexError, RuntimeError, …
        raise _unusable(what, error) from None
    return _upright(rgb, orientation, whole)


def _upright(rgb: Image.Image, orientation: int, whole: bool) -> Pixels:
    while rgb.width * rgb.height > LARGE_PIXELS and not whole:
        rgb = rgb.reduce(2)
    return np.asarray(rgb.transpose(TURNS[orientation]) if orientation in TURNS else rgb)


def is_picture(head: bytes) -> bool:
    """Whether `head`, the first 12 or more bytes of a file, has the signature of a supported image."""
    return (
        head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM", b"II*\0", b"MM\0*"))
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or (head[4:8] == b"ftyp" and head[8:12] in (*HEIC_BRANDS, *AVIF_BRANDS, *CONTAINER_BRANDS))
    )


def _content(path: Path, what: str) -> bytes:
    try:
        return read_bounded(path, MAX_BYTES, what or "The photo")
    except ComfaceError as error:
        if not what:
            raise
        sentence = str(error).replace(f" '{path}'", "").replace(f" '{str(path)[:200]}'", "")
        raise type(error)(sentence) from None


def _opened(data: bytes, what: str) -> tuple[Any, int, bytes]:
    """(image of Pillow or pi_heif with its header read, orientation, the bytes to decode)."""
    orientation = 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if _is_heic(data):
                image = _heic(data)
                width, height = image.size_mode[0]
            else:
                orientation, data = without_metadata(data)
                image = Image.open(io.BytesIO(data), formats=FORMATS)
                if image.format == "TIFF":
                    image.load_end = lambda: None  # type: ignore[method-assign]  # it would read every tag
                width, height = image.size
        pixels = width * height
    except Image.DecompressionBombError:
        pixels = 2 * MAX_PIXELS
    except Exception as error:
        raise _unusable(what, error) from None
    limit = MAX_PIXELS if _is_heic(data) or data.startswith(b"\xff\xd8") else MAX_WHOLE_PIXELS
    if pixels > limit:
        raise _too_large(what, limit)
    return image, orientation, data


def _too_large(what: str, limit: int) -> TooManyPixels:
    return TooManyPixels(
        f"{what} has more than {limit / 1e6:.0f} megapixels, the limit"
        + ("; save it smaller." if limit == MAX_PIXELS else " for a file that is not a JPEG; save it smaller.")
    )


def _unusable(what: str, error: Exception) -> DataError:
    return DataError(
        f"{what} is damaged, truncated or not a supported image ({SUPPORTED}; {type(error).__name__}); copy it again, "
        "or export it as JPEG."
    )


def _is_heic(data: bytes) -> bool:
    if data[4:8] != b"ftyp":
        return False
    size = min(int.from_bytes(data[:4], "big"), 256)
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, size, 4))}
    return not brands.isdisjoint(HEIC_BRANDS) or (data[8:12] in CONTAINER_BRANDS and brands.isdisjoint(AVIF_BRANDS))


def _heic(data: bytes) -> Any:
    """The primary image, not yet decoded: .size_mode, .data, .stride. This calls pi_heif's C module, whose version is
    pinned: pi_heif's classes also read the metadata, and 11 of 3,000 mutated files crashed the process there."""
    import _pi_heif

    images = [each for each in _pi_heif.load_file(data, 1, True, False, True, True, "", False) if each is not None]
    return next((each for each in images if each.primary), images[0])


def _to_rgb(image: Image.Image, data: bytes, opaque: bool) -> Image.Image:
    if (values := _deep(image, data)) is not None:
        image = Image.fromarray(_eight_bits(values))
    opaque = opaque and image.mode not in ("RGBa", "La")  # multiplied by alpha already
    if not opaque and (image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info):
        image = image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _deep(image: Image.Image, data: bytes) -> NDArray[Any] | None:
    """The values (H,W) or (H,W,C) of an image with more than 8 bits per value; None for any other. OpenCV reads those
    with colours, because Pillow keeps only their high byte."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        if values.min(initial=0) < 0:
            raise ValueError("negative values")  # measurements, whose black and white levels are unknown
        white_is_zero = image.format == "TIFF" and image.tag_v2.get(262) == 0  # type: ignore[attr-defined]
        return 65535 - values if white_is_zero and image.mode.startswith("I;16") else values
    if not data:  # an image in memory, which Pillow has decoded with 8 bits
        return None
    if image.format == "PNG":
        bits = data[24]
    elif image.format == "TIFF":
        bits = max(image.tag_v2.get(258, (8,)), default=8)  # type: ignore[attr-defined]
    else:
        return None
    if bits != 16 or (image.format == "TIFF" and image.tag_v2.get(262) == 5):  # type: ignore[attr-defined]
        return None  # not 16 bits, or CMYK, which OpenCV does not read
    if image.format == "TIFF" and image.tag_v2.get(284, 1) != 1:  # type: ignore[attr-defined]
        raise ValueError("16 bits in separate planes")  # both readers mix up the planes
    import cv2

    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if read is None or read.dtype != np.uint16 or read.shape[:2] != (image.height, image.width):
        return None
    if read.ndim == 2:
        return read
    return read[..., [2, 1, 0, 3][: len(image.getbands())]]  # a fourth value need not be alpha


def _eight_bits(values: NDArray[Any]) -> Pixels:
    """`values` as uint8, scaled by the number of bits in use: cameras store 10 or 12 bits in 16. A fourth channel is
    alpha and uses the full range."""
    values = np.nan_to_num(values.astype(np.float32), posinf=0.0, neginf=0.0)
    colours, alpha = values[..., :3] if values.ndim == 3 else values, values[..., 3:] if values.ndim == 3 else None
    top = float(colours.max(initial=0))
    bits = max(8, int(top).bit_length())
    white = 1.0 if 0 < top <= 1.0 and not np.equal(colours, colours.round()).all() else 2.0 ** (bits + bits % 2) - 1
    scaled = np.clip(colours * (255.0 / white), 0, 255).round()
    if alpha is not None and alpha.shape[-1]:
        scaled = np.concatenate([scaled, np.clip(alpha * (255.0 / 65535), 0, 255).round()], axis=-1)
    return scaled.astype(np.uint8)
