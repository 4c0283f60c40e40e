"""Requests that no honest client sends: damaged and dangerous photos, malformed forms. All from a seed."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image

BOUNDARY = "x" * 20


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_of(width: int, height: int, data: bytes = b"", depth: int = 8, colour: int = 2) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def bomb(rng: random.Random) -> bytes:
    """A PNG of 50 megapixels or more in a few kilobytes."""
    side = rng.choice((7_200, 9_000, 20_000, 60_000))
    rows = min(side, 9_000)
    return png_of(side, side, zlib.compress(bytes(1 + side // 8) * rows, 9), 1, 0)


def huge_header(rng: random.Random) -> bytes:
    side = rng.choice((2**31 - 1, 2**16, 100_000))
    webp = b"RIFF" + struct.pack("<I", 26) + b"WEBPVP8L" + struct.pack("<I", 9) + b"\x2f\xff\xff\xff\x0f" + bytes(8)
    gif = b"GIF89a\xff\xff\xff\xff\x00\x00\x00,\x00\x00\x00\x00\xff\xff\xff\xff\x00\x02\x00;"
    bmp = b"BM" + struct.pack(
        "<IHHIIiiHHIIiiII", 60, 0, 0, 54, 40, min(side, 2**31 - 1), 60_000, 1, 24, 0, 0, 0, 0, 0, 0
    )
    return rng.choice((png_of(side, side), webp, gif, bmp))


def exif_tricks(photo: Image.Image, rng: random.Random) -> bytes:
    exif = Image.Exif()
    exif[274] = rng.choice((0, 3, 6, 8, 9, 65_535))
    exif[282] = rng.choice((1, 300))
    data = bytearray(encoded(photo, "JPEG", exif=exif))
    at = data.find(b"Exif\0\0")
    for _ in range(rng.randint(1, 12)):
        data[at + 6 + rng.randrange(40)] = rng.randrange(256)
    return bytes(data)


def mutated(data: bytes, rng: random.Random) -> bytes:
    found = bytearray(data)
    for _ in range(rng.randint(1, 40)):
        found[rng.randrange(len(found))] = rng.randrange(256)
    return bytes(found)


def photo_kinds(photo: Image.Image) -> dict[str, Callable[[random.Random], bytes]]:
    """Kinds of photos, most of which are refused."""
    plain = encoded(photo, "JPEG")
    webp, tiff, gif = encoded(photo, "WEBP"), encoded(photo, "TIFF"), encoded(photo.convert("P"), "GIF")
    avif = encoded(photo.resize((64, 64)), "AVIF")
    frames = [photo.rotate(angle) for angle in (0, 90, 180)]
    animated = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50)
    deep = np.asarray(photo.convert("L"), np.uint16) * 257
    sources = (plain, webp, tiff, gif, avif, encoded(photo, "PNG"), animated)
    return {
        "text": lambda rng: rng.choice((b"", b"hello", b"%!PS-Adobe-3.0 EPSF\n", b"<svg/>", b"%PDF-1.7", b"MZ" * 200)),
        "noise": lambda rng: rng.randbytes(rng.randint(1, 4000)),
        "truncated": lambda rng: (data := rng.choice(sources))[: rng.randrange(1, len(data))],
        "mutated": lambda rng: mutated(rng.choice(sources), rng),
        "bomb": bomb,
        "huge header": huge_header,
        "exif": lambda rng: exif_tricks(photo, rng),
        "animated": lambda rng: animated,
        "cmyk": lambda rng: encoded(photo.convert("CMYK"), "JPEG", quality=rng.choice((5, 50, 95))),
        "16 bit": lambda rng: encoded(Image.fromarray(deep), rng.choice(("PNG", "TIFF"))),
        "rotated": lambda rng: encoded(photo.rotate(rng.choice((90, 180, 270))), "JPEG"),
        "alpha": lambda rng: encoded(photo.convert("RGBA"), rng.choice(("PNG", "WEBP"))),
        "tiny": lambda rng: encoded(photo.resize((rng.randint(1, 9), rng.randint(1, 9))), "PNG"),
        "strip": lambda rng: encoded(photo.resize((rng.choice((1, 4000)), 3)), "PNG"),
        "blank": lambda rng: encoded(Image.new("RGB", (80, 80), rng.choice(("black", "white"))), "JPEG"),
    }  # fmt: skip


def form(*photos: bytes, name: str = "photos", ending: str = "--") -> bytes:
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="../../etc/x"\r\n\r\n'.encode()
        + photo
        + b"\r\n"
        for photo in photos
    ]
    return b"".join(parts) + f"--{BOUNDARY}{ending}\r\n".encode()


def forms(good: bytes) -> dict[str, Callable[[random.Random], tuple[bytes, str]]]:
    """Malformed bodies, each with its content type."""
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    return {
        "no form": lambda rng: (b"a=1", rng.choice(("", "application/json", "text/plain", "image/jpeg", "\x7f"))),
        "no boundary": lambda rng: (form(good, good), "multipart/form-data"),
        "long boundary": lambda rng: (form(good, good), f"multipart/form-data; boundary={'y' * 5000}"),
        "unended": lambda rng: (form(good, good, ending=""), kind),
        "cut": lambda rng: ((body := form(good, good))[: rng.randrange(1, len(body))], kind),
        "one photo": lambda rng: (form(good), kind),
        "many photos": lambda rng: (form(*[b"\xff\xd8\xff"] * rng.choice((13, 200))), kind),
        "other name": lambda rng: (form(b"x", b"y", name=rng.choice(("files", "", "photos[0]", "é"))), kind),
        "mutated": lambda rng: (mutated(form(good[:400], good[:400]), rng), kind),
        "long header": lambda rng: (form(good, name="n" * 20_000), kind),
        "noise": lambda rng: (rng.randbytes(rng.randint(1, 3000)), kind),
    }


def requests(photo: bytes, count: int, seed: int = 0) -> Iterator[tuple[str, bytes, str]]:
    """(kind, body, content type) of `count` requests; the kinds take turns."""
    rng = random.Random(seed)
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    bad, malformed = photo_kinds(Image.open(io.BytesIO(photo)).convert("RGB")), forms(photo)
    names = [*(("photo", name) for name in bad), *(("form", name) for name in malformed)]
    for number in range(count):
        place, name = names[number % len(names)]
        if place == "form":
            body, content_type = malformed[name](rng)
            yield name, body, content_type
        else:
            photos = [photo, bad[name](rng)]
            rng.shuffle(photos)
            yield name, form(*photos), kind
