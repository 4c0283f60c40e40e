"""Photos as people take them, read in one place: by content, never by name, and never by a decoder that nobody meant.

In: a regular file of at most 200 MB, or its bytes: JPEG, PNG, WEBP, TIFF, BMP, GIF (first frame), HEIC or AVIF.
Out: RGB uint8 (H,W,3), upright; transparent parts are white. Of Exif the orientation is read and nothing else, so no
other broken tag matters. Whatever a decoder throws is one sentence.

Legend: H, W height and width, C colour channels (with alpha, if there is one).
"""

from __future__ import annotations

import contextlib
import io
import re
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from comface.errors import ComfaceError, DataError
from comface.files import read_bounded

Pixels = NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")
"""What Pillow may open; pi-heif opens HEIC. Pillow knows 40 more, among them EPS, which it hands to Ghostscript."""
SUPPORTED = "JPEG, PNG, WEBP, TIFF, BMP, GIF, HEIC, AVIF"
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")
AVIF_BRANDS = (b"avif", b"avis")
CONTAINER_BRANDS = (b"mif1", b"msf1")
"""Brands that say HEIF container; the compatible brands behind them tell which codec."""

AVIF_ITEMS = 4096
"""Within its first bytes an AVIF lists its items."""
AVIF_EXIF = re.compile(rb"(infe.{4}(?:.{4}|.{6}))Exif", re.DOTALL)
"""Box, version and flags, the item's id and protection, its type."""

MAX_BYTES = 200_000_000
HEAD_BYTES = 1 << 17
MAX_PIXELS = 256_000_000
"""A phone's 200 megapixels, and some room."""
MAX_WHOLE_PIXELS = 100_000_000
"""The same for formats that are not decoded at half their size: a WEBP of 34 bytes and 225 megapixels took 22 s and
4 GB."""
LARGE_PIXELS = 50_000_000
"""Above this a photo is halved until it is below: a face does not need more, and 200 megapixels fill 1.2 GB."""
MAX_SCANS = 200
"""Scans of a progressive JPEG (10 are usual): each one goes through all its pixels, so thousands hang a decoder."""

PNG_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
PNG_PROFILE = b"Raw profile type exif\0"

ORIENTATION = 0x0112
WHOLE_NUMBERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}
"""Types of Exif; the orientation is an H, but some programs write another."""
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # Pillow's own limit, below which it would warn, is smaller than a phone's photo


def read_photo(path: Path, what: str = "", whole: bool = False) -> Pixels:
    """The photo at `path`. `what` begins each sentence and replaces the file's name (photos of patients); `whole`: do
    not halve a very large photo (landmarks count its pixels). Raises DataError, or ConfigurationError where the file
    may not be read."""
    return decode_photo(_content(path, what), what or f"The photo '{path.name[:200]}'", whole)


def check_photo(path: Path, what: str = "") -> None:
    """What a photo's header tells, without decoding it; most tell it in their first kilobytes. Raises as `read_photo`
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


def decode_photo(data: bytes, what: str = "The photo", whole: bool = False) -> Pixels:
    """The photo whose file holds `data`. Raises DataError."""
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
            else:  # libheif turns the picture itself; its Exif orientation says what was done
                pixels = opened.data
                size, mode = opened.size_mode
                image = Image.frombytes(mode, size, pixels, "raw", mode, opened.stride)
            rgb = _to_rgb(image, data)
    except Exception as error:  # decoders raise whatever they like: struct.error, IndexError, RuntimeError, …
        raise _unusable(what, error) from None
    while rgb.width * rgb.height > LARGE_PIXELS and not whole:
        rgb = rgb.reduce(2)
    return np.asarray(rgb.transpose(TURNS[orientation]) if orientation in TURNS else rgb)


def is_picture(head: bytes) -> bool:
    """Whether a file that begins with `head` (12 bytes or more of it) says that it is a supported picture."""
    return (
        head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM", b"II*\0", b"MM\0*"))
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or (head[4:8] == b"ftyp" and head[8:12] in (*HEIC_BRANDS, *AVIF_BRANDS, *CONTAINER_BRANDS))
    )


def exif_orientation(block: bytes) -> tuple[int, int]:
    """(orientation, its place in `block`) of a block in TIFF's structure; (1, 0) where none can be read."""
    start = 6 if block.startswith(b"Exif\0\0") else 0
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[start : start + 4])
    try:
        if order is None:
            return 1, 0
        directory = start + struct.unpack_from(f"{order}I", block, start + 4)[0]
        for entry in range(struct.unpack_from(f"{order}H", block, directory)[0]):
            place = directory + 2 + 12 * entry
            tag, kind, count = struct.unpack_from(f"{order}HHI", block, place)
            if tag == ORIENTATION and kind in WHOLE_NUMBERS and count == 1:
                return struct.unpack_from(order + WHOLE_NUMBERS[kind], block, place + 8)[0], place + 8
    except struct.error:  # the directory ends early
        pass
    return 1, 0


def _content(path: Path, what: str) -> bytes:
    try:
        return read_bounded(path, MAX_BYTES, what or "The photo")
    except ComfaceError as error:
        if not what:
            raise
        sentence = str(error).replace(f" '{path}'", "").replace(f" '{str(path)[:200]}'", "")
        raise type(error)(sentence) from None


def _opened(data: bytes, what: str) -> tuple[Any, int, bytes]:
    """The image (Pillow's, or pi_heif's), its header read; how it must be turned; the bytes that it is decoded from."""
    orientation = 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if _is_heic(data):
                image = _heic(data)
                width, height = image.size_mode[0]
            else:
                if data.startswith(b"\xff\xd8"):
                    orientation, data = _bare_jpeg(data)
                elif data.startswith(b"\x89PNG\r\n\x1a\n"):
                    orientation, data = _bare_png(data)
                elif data[:4] in (b"II*\0", b"MM\0*"):
                    orientation, data = _unturned_tiff(data)
                elif data[4:8] == b"ftyp":  # AVIF, which has its own rules of orientation: without its Exif item
                    data = AVIF_EXIF.sub(rb"\1none", data[:AVIF_ITEMS]) + data[AVIF_ITEMS:]
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
        raise DataError(
            f"{what} has more than {limit / 1e6:.0f} megapixels, which is the most that is read"
            + ("; save it smaller." if limit == MAX_PIXELS else " of a file that is no JPEG; save it smaller.")
        )
    return image, orientation, data


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
    """The primary image, not yet decoded: .size_mode, .data, .stride. pi_heif's own classes read the metadata too, in
    which 11 of 3,000 mutated files crashed the process; so its C module is called, whose series is pinned."""
    import _pi_heif

    images = [each for each in _pi_heif.load_file(data, 1, True, False, True, True, "", False) if each is not None]
    return next((each for each in images if each.primary), images[0])


def _bare_jpeg(data: bytes) -> tuple[int, bytes]:
    """(orientation, the file without metadata): Pillow would read Exif, IPTC and multi-picture blocks and stumble over
    a broken one. What tells about pixels stays: JFIF (APP0) and Adobe's transform (APP14)."""
    orientation, kept, at = 1, [data[:2]], 2
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] != b"\xda":
        if data[at + 1] in (0xFF, 0x01) or 0xD0 <= data[at + 1] <= 0xD8:  # fill byte, markers without content
            at += 1 if data[at + 1] == 0xFF else 2
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0" and orientation == 1:
            orientation = exif_orientation(data[at + 4 : end])[0]
        if data[at + 1] in (0xE0, 0xEE) or not 0xE0 <= data[at + 1] <= 0xFE:
            kept.append(data[at:end])
        at = max(end, at + 2)
    rest = data[at:]
    if rest.count(b"\xff\xda") > MAX_SCANS:
        raise ValueError("too many scans")
    return orientation, b"".join([*kept, rest])


def _bare_png(data: bytes) -> tuple[int, bytes]:
    """(orientation, the file without metadata), for the same reason. Its Exif is a chunk, or, as ImageMagick wrote it
    for long, hexadecimal text: `\\nexif\\n   1234\\n457869…`."""
    orientation, kept, at = 1, [data[:8]], 8
    while at + 8 <= len(data):
        kind, end = data[at + 4 : at + 8], at + 12 + int.from_bytes(data[at : at + 4], "big")
        if kind in PNG_PIXELS:
            kept.append(data[at:end])
        elif orientation == 1 and kind == b"eXIf":
            orientation = exif_orientation(data[at + 8 : end - 4])[0]
        elif orientation == 1 and data.startswith(PNG_PROFILE, at + 8):
            packed = data[at + 8 + len(PNG_PROFILE) : end - 4]
            with contextlib.suppress(ValueError, zlib.error):
                text = zlib.decompressobj().decompress(packed[1:], HEAD_BYTES) if kind == b"zTXt" else packed
                orientation = exif_orientation(bytes.fromhex("".join(text.decode("latin-1").split("\n")[3:])))[0]
        at = end
    return orientation, b"".join(kept)


def _unturned_tiff(data: bytes) -> tuple[int, bytes]:
    """(orientation, the file with orientation 1): Pillow would turn it while it decodes, by way of all other tags."""
    orientation, place = exif_orientation(data)
    if place:
        kind = struct.unpack_from("<H" if data.startswith(b"II") else ">H", data, place - 6)[0]
        upright = struct.pack(("<" if data.startswith(b"II") else ">") + WHOLE_NUMBERS[kind], 1)
        data = data[:place] + upright + data[place + len(upright) :]
    return orientation, data


def _to_rgb(image: Image.Image, data: bytes) -> Image.Image:
    if (values := _deep(image, data)) is not None:
        image = Image.fromarray(_eight_bits(values))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")
        opaque = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(opaque, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _deep(image: Image.Image, data: bytes) -> NDArray[Any] | None:
    """The values (H,W) or (H,W,C) of an image with more than 8 bits per value; None for all others. Pillow keeps the
    high byte alone where such an image has colours: OpenCV reads those."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        if values.min(initial=0) < 0:
            raise ValueError("negative values")  # of a measurement: what is black, and what white, is not known
        white_is_zero = image.format == "TIFF" and image.tag_v2.get(262) == 0  # type: ignore[attr-defined]
        return 65535 - values if white_is_zero and image.mode.startswith("I;16") else values
    if image.format == "PNG":
        bits = data[24]
    elif image.format == "TIFF":
        bits = max(image.tag_v2.get(258, (8,)), default=8)  # type: ignore[attr-defined]
    else:
        return None
    if bits != 16 or (image.format == "TIFF" and image.tag_v2.get(262) == 5):  # type: ignore[attr-defined]
        return None  # CMYK, which OpenCV does not read, or refuses
    if image.format == "TIFF" and image.tag_v2.get(284, 1) != 1:  # type: ignore[attr-defined]
        raise ValueError("16 bits in separate planes")  # both readers mix them up
    import cv2

    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if read is None or read.dtype != np.uint16 or read.shape[:2] != (image.height, image.width):
        return None
    if read.ndim == 2:
        return read
    return read[..., [2, 1, 0, 3][: len(image.getbands())]]  # a fourth value need not be alpha


def _eight_bits(values: NDArray[Any]) -> Pixels:
    """Scaled by the bits that are really used: cameras store 10 or 12 bits in 16 with the rest empty. A fourth
    channel is alpha and uses the whole range."""
    values = np.nan_to_num(values.astype(np.float32), posinf=0.0, neginf=0.0)
    colours, alpha = values[..., :3] if values.ndim == 3 else values, values[..., 3:] if values.ndim == 3 else None
    top = float(colours.max(initial=0))
    bits = max(8, int(top).bit_length())
    white = 1.0 if 0 < top <= 1.0 and not np.equal(colours, colours.round()).all() else 2.0 ** (bits + bits % 2) - 1
    scaled = np.clip(colours * (255.0 / white), 0, 255).round()
    if alpha is not None and alpha.shape[-1]:
        scaled = np.concatenate([scaled, np.clip(alpha * (255.0 / 65535), 0, 255).round()], axis=-1)
    return scaled.astype(np.uint8)
