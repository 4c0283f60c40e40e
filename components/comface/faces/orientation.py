"""The Exif orientation of a photo, and its file without metadata, because Pillow fails on a single broken tag.

In: the bytes of a JPEG, PNG, TIFF or AVIF. Out: the Exif orientation (1 to 8; 1 is upright) and bytes that decode to
the same pixels.
"""

from __future__ import annotations

import contextlib
import re
import struct
import zlib

from PIL import Image

PNG_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
PNG_PROFILE = b"Raw profile type exif\0"

ORIENTATION = 0x0112
WHOLE_NUMBERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}
"""Exif's integer types; the orientation should be an H, but some programs write another type."""
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
AVIF_ITEMS = 4096
"""An AVIF lists its items in its first 4,096 bytes."""
AVIF_EXIF = re.compile(rb"(infe.{4}(?:.{4}|.{6}))Exif", re.DOTALL)
"""An item entry: box, version and flags, the item's id and protection, its type."""
MAX_SCANS = 200
"""Maximum number of scans of a progressive JPEG (10 are usual): each scan covers all pixels, so thousands hang a
decoder."""
PROFILE_BYTES = 1 << 17
"""Size limit of a compressed Exif block in a PNG's text."""


def without_metadata(data: bytes) -> tuple[int, bytes]:
    """(orientation, the file without its metadata); (1, the unchanged file) for other formats."""
    if data.startswith(b"\xff\xd8"):
        return _bare_jpeg(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _bare_png(data)
    if data[:4] in (b"II*\0", b"MM\0*"):
        return _unturned_tiff(data)
    if data[4:8] == b"ftyp":  # AVIF has its own orientation; disable its Exif item
        return 1, AVIF_EXIF.sub(rb"\1none", data[:AVIF_ITEMS]) + data[AVIF_ITEMS:]
    return 1, data


def exif_orientation(block: bytes) -> tuple[int, int]:
    """(orientation, its offset in `block`) of a block in TIFF structure; (1, 0) if it cannot be read."""
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


def _bare_jpeg(data: bytes) -> tuple[int, bytes]:
    """(orientation, the file without metadata). Pillow would read Exif, IPTC and multi-picture blocks and fail on a
    broken one. The blocks that affect pixels remain: JFIF (APP0) and Adobe's transform (APP14)."""
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
    """(orientation, the file without metadata). The Exif data are a chunk or, from older versions of ImageMagick,
    hexadecimal text: `\\nexif\\n   1234\\n457869…`."""
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
                text = zlib.decompressobj().decompress(packed[1:], PROFILE_BYTES) if kind == b"zTXt" else packed
                orientation = exif_orientation(bytes.fromhex("".join(text.decode("latin-1").split("\n")[3:])))[0]
        at = end
    return orientation, b"".join(kept)


def _unturned_tiff(data: bytes) -> tuple[int, bytes]:
    """(orientation, the file with orientation 1). Otherwise Pillow would rotate it while decoding and read all tags."""
    orientation, place = exif_orientation(data)
    if place:
        kind = struct.unpack_from("<H" if data.startswith(b"II") else ">H", data, place - 6)[0]
        upright = struct.pack(("<" if data.startswith(b"II") else ">") + WHOLE_NUMBERS[kind], 1)
        data = data[:place] + upright + data[place + len(upright) :]
    return orientation, data
