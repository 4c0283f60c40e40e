"""Photos in every format and state that people's files are in, and files that only pretend to be photos."""

from __future__ import annotations

import io
import os
import random
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from comface.errors import ConfigurationError, DataError
from comface.faces.orientation import exif_orientation
from comface.faces.photos import MAX_PIXELS, check_photo, decode_photo, is_picture, read_photo

DATA = Path(__file__).parent / "data"
CASES = DATA / "cases"
PHOTO = DATA / "astronaut.jpg"
NOT_SUPPORTED = r"is damaged, truncated or not a supported image \(JPEG, PNG, WEBP, TIFF, BMP, GIF, HEIC, AVIF; "


@pytest.fixture(scope="module")
def photo() -> NDArray[np.uint8]:
    return read_photo(PHOTO)


def encoded(image: Image.Image | NDArray[np.generic], kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def turned_exif(orientation: int = 6) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


# --- What is right of each file that broke the product


def test_the_cases_of_photos_are_read_and_turned() -> None:
    upright = read_photo(CASES / "photos/face_ok.jpg").astype(int)
    for name in ("exif_rational_minus1_0.jpg", "exif_unit_text.jpg", "real.HEIC"):
        read = read_photo(CASES / "photos" / name).astype(int)
        assert read.shape == upright.shape
        assert np.abs(read - upright).mean() < 3, name


@pytest.mark.parametrize("name", ["eps_loop.jpg", "IndexError_iptc"])
def test_what_is_no_supported_picture_is_refused_at_once_whatever_its_name(name: str) -> None:
    started = time.monotonic()
    with pytest.raises(DataError, match=f"The photo '{name}' {NOT_SUPPORTED}"):
        read_photo(CASES / "attack" / name)
    assert time.monotonic() - started < 2
    with pytest.raises(DataError, match=NOT_SUPPORTED):
        check_photo(CASES / "attack" / name)


def test_an_odd_exif_tag_does_not_spoil_a_sound_picture() -> None:
    assert read_photo(CASES / "attack/TypeError_jpg").shape == (64, 64, 3)


def test_no_program_is_started_for_a_picture(tmp_path: Path) -> None:
    """Pillow hands EPS to the first `gs` on the path; this one would leave a file."""
    ran = tmp_path / "ran"
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {ran}\n")
    (tmp_path / "gs").chmod(0o755)
    code = "from PIL import Image; Image.init(); from pathlib import Path; "
    code += "from comface.faces.photos import read_photo; "
    code += f"read_photo(Path({str(CASES / 'attack/eps_loop.jpg')!r}))"
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert "not a supported image" in done.stderr
    assert not ran.exists()


# --- Formats


def test_each_format_is_known_by_its_content_and_not_by_its_name(tmp_path: Path, photo: NDArray[np.uint8]) -> None:
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF"):
        path = tmp_path / "photo.eps"
        path.write_bytes(encoded(photo, kind))
        assert np.abs(read_photo(path).astype(int) - photo).mean() < 8, kind
        assert is_picture(path.read_bytes()[:16]), kind
    assert is_picture((CASES / "photos/real.HEIC").read_bytes()[:16])
    for kind in ("EPS", "PPM", "ICO", "TGA", "PCX", "JPEG2000"):
        with pytest.raises(DataError, match=NOT_SUPPORTED):
            decode_photo(encoded(photo, kind))


def test_gray_alpha_palette_cmyk_and_animated_photos_become_rgb(photo: NDArray[np.uint8]) -> None:
    image, gray = Image.fromarray(photo), np.asarray(Image.fromarray(photo).convert("L"))
    np.testing.assert_array_equal(decode_photo(encoded(gray, "PNG")), np.dstack([gray] * 3))
    half = np.dstack([photo, np.full_like(gray, 0)])
    half[:, 100:, 3] = 255
    for kind in ("PNG", "TIFF"):
        read = decode_photo(encoded(half, kind))
        assert (read[:, :100] == 255).all()
        np.testing.assert_array_equal(read[:, 100:], photo[:, 100:])
    assert np.abs(decode_photo(encoded(image.convert("P"), "PNG")).astype(int) - photo).mean() < 20
    assert np.abs(decode_photo(encoded(image.convert("CMYK"), "JPEG")).astype(int) - photo).mean() < 4
    np.testing.assert_array_equal(decode_photo(encoded(image.convert("CMYK"), "TIFF")), photo)
    other = Image.new("RGB", image.size, "blue")
    animated = encoded(image.quantize(), "GIF", save_all=True, append_images=[other.quantize()])
    assert np.abs(decode_photo(animated).astype(int) - photo).mean() < 8


@pytest.mark.parametrize("bits", [10, 12, 16])
@pytest.mark.parametrize("kind", ["PNG gray", "TIFF gray", "PNG colour", "TIFF colour"])
def test_16_bit_files_are_scaled_by_the_bits_that_are_used(kind: str, bits: int, photo: NDArray[np.uint8]) -> None:
    import cv2

    ending, colours = kind.split()
    wanted = photo.copy() if colours == "colour" else cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    wanted[0, 0] = 255
    deep = np.round(wanted / 255.0 * (2**bits - 1)).astype(np.uint16)
    done, data = cv2.imencode(f".{ending.lower()}", deep[..., ::-1] if deep.ndim == 3 else deep)
    assert done
    read = decode_photo(data.tobytes()).astype(int)
    assert np.abs(read - (wanted if wanted.ndim == 3 else np.dstack([wanted] * 3))).max() <= 1


# --- Orientation


@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8, 0, 9, 65535])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_photo_is_turned_as_its_exif_tag_says_and_not_at_all_by_a_broken_one(kind: str, orientation: int) -> None:
    """Written out by hand from the Exif standard: which edges row 0 and column 0 are."""
    shown = np.zeros((32, 48, 3), np.uint8)
    shown[:16, :24], shown[:16, 24:], shown[16:, :24] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    stored: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: a.transpose(1, 0, 2)[::-1],
        7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
        8: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    }
    file = np.ascontiguousarray(stored.get(orientation, lambda a: a)(shown))
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    read = decode_photo(encoded(file, kind, exif=turned_exif(orientation), **options))
    assert np.abs(read.astype(int) - shown).mean() < 4


@pytest.mark.parametrize(("kind", "value"), [(1, b"\6"), (4, struct.pack("<I", 6)), (8, struct.pack("<h", 6))])
def test_an_orientation_written_as_another_type_of_number_turns(
    kind: int, value: bytes, photo: NDArray[np.uint8]
) -> None:
    block = b"Exif\0\0II*\0" + struct.pack("<IHHHI", 8, 1, 0x0112, kind, 1) + value.ljust(4, b"\0") + bytes(4)
    for form in ("PNG", "WEBP"):
        read = decode_photo(encoded(Image.fromarray(photo), form, exif=block, lossless=True))
        np.testing.assert_array_equal(read, np.rot90(photo, -1))


@pytest.mark.parametrize("text", ["\nexif\n  26\nzz", "\nexif", "x", ""])
def test_the_exif_that_imagemagick_writes_into_a_png_turns_and_a_broken_one_does_not(
    text: str, photo: NDArray[np.uint8]
) -> None:
    block = b"Exif\0\0" + turned_exif().tobytes().removeprefix(b"Exif\0\0")
    for content, turns in ((f"\nexif\n{len(block):8}\n{block.hex()}\n", -1), (text, 0)):
        chunks = PngImagePlugin.PngInfo()
        chunks.add_text("Raw profile type exif", content, zip=True)
        read = decode_photo(encoded(photo, "PNG", pnginfo=chunks))
        np.testing.assert_array_equal(read, np.rot90(photo, turns))


@pytest.mark.parametrize(
    "chunk",
    [b"tEXta\0b", b"iCCPx\0\0garbage", b"gAMA", b"pHYs\0", b"sRGB", b"cHRM\0", b"acTL", b"eXIfgarbage", b"abCD"],
)
def test_broken_metadata_of_a_png_does_not_spoil_its_pixels(chunk: bytes, photo: NDArray[np.uint8]) -> None:
    data = encoded(photo, "PNG")
    for wrong in (0, 1):  # also with a checksum that does not hold
        piece = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk) ^ wrong)
        np.testing.assert_array_equal(decode_photo(data[:33] + piece + data[33:]), photo)


def tiff(values: NDArray[np.generic], photometric: int, planes: int = 1, signed: bool = False) -> bytes:
    """16-bit values (H,W,C) as they are laid out by programs for measurements, which Pillow does not write."""
    height, width, count = values.shape
    data = (values if planes == 1 else np.moveaxis(values, 2, 0)).astype("<i2" if signed else "<u2").tobytes()
    parts = 1 if planes == 1 else count
    tags = {256: (width,), 257: (height,), 258: (16,) * count, 259: (1,), 262: (photometric,), 273: (0,) * parts,
            277: (count,), 278: (height,), 279: (len(data) // parts,) * parts, 284: (planes,), 338: (0,) * (count == 4),
            339: (2 if signed else 1,) * count}  # fmt: skip
    tags = {tag: each for tag, each in tags.items() if each}
    start = 8 + 2 + 12 * len(tags) + 4
    first = start + sum(4 * len(each) for each in tags.values() if len(each) > 1)
    tags[273] = tuple(first + part * (len(data) // parts) for part in range(parts))
    entries, more = b"", b""
    for tag, each in tags.items():
        packed = struct.pack(f"<{len(each)}I", *each)
        entries += struct.pack("<HHI", tag, 4, len(each))
        entries += packed if len(each) == 1 else struct.pack("<I", start + len(more))
        more += packed if len(each) > 1 else b""
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + more + data


def test_16_bit_tiffs_that_a_decoder_would_mix_up_are_read_right_or_refused(photo: NDArray[np.uint8]) -> None:
    wide = photo.astype(np.uint16) * 257
    np.testing.assert_array_equal(decode_photo(tiff(wide, 2)), photo)
    beside = np.dstack([wide, np.zeros(photo.shape[:2], np.uint16)])
    np.testing.assert_array_equal(decode_photo(tiff(beside, 2)), photo)  # the fourth value is no alpha
    with pytest.raises(DataError, match=NOT_SUPPORTED):
        decode_photo(tiff(wide, 2, planes=2))
    with pytest.raises(DataError, match=NOT_SUPPORTED):
        decode_photo(tiff(wide[..., :1].astype(np.int32) - 40000, 1, signed=True))


def test_a_heic_is_turned_by_its_own_rules_and_not_twice() -> None:
    data = (CASES / "photos/small.heic").read_bytes()  # its Exif says 6, which a HEIC's reader ignores
    plain = decode_photo(data)
    assert plain.shape == (96, 128, 3)
    turned = decode_photo(data.replace(b"colrnclx", b"irot\x03clx"))  # three quarter turns anticlockwise
    np.testing.assert_array_equal(turned, np.rot90(plain, -1))


def test_avif_is_turned_by_its_own_rules(photo: NDArray[np.uint8]) -> None:
    turned = decode_photo(encoded(photo[:150], "AVIF", exif=turned_exif(6)))
    assert turned.shape == (200, 150, 3)
    assert np.abs(turned.astype(int) - np.rot90(photo[:150], -1)).mean() < 8


@pytest.mark.parametrize(
    "block",
    [b"", b"II*\0", b"MM\0*\0\0\0\x08\xff\xff", b"II*\0\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01"],
)
def test_a_truncated_exif_block_turns_nothing(block: bytes) -> None:
    assert exif_orientation(block) == (1, 0)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF", "HEIC"])
def test_no_broken_exif_block_spoils_the_pixels(kind: str) -> None:
    exif, chance = Image.Exif(), random.Random(3)
    exif[0x010F], exif[0x011A], exif[0x0132] = "maker", 72.0, "2020:01:01 00:00:00"
    block = exif.tobytes()[6:]
    if kind == "HEIC":
        data = (CASES / "photos/small.heic").read_bytes()
        block = data[data.index(b"MM\0*") :][:26]
    else:
        data = encoded(Image.open(PHOTO).resize((64, 48)), kind, exif=exif)
    at, sound = data.index(block), decode_photo(data)
    for _ in range(200):
        broken = bytearray(data)
        for _ in range(chance.choice([1, 2, 8])):
            broken[at + chance.randrange(len(block))] = chance.choice([0, 1, 255, chance.randrange(256)])
        read = decode_photo(bytes(broken))
        assert sorted(read.shape) == sorted(sound.shape), "turned at most"
        assert read.sum() == sound.sum()


# --- Sizes and paths


def test_a_photo_of_200_megapixels_is_read_smaller_and_a_larger_one_refused() -> None:
    image = Image.linear_gradient("L").resize((16320, 12240), Image.Resampling.NEAREST)
    data = encoded(image, "JPEG", quality=50)
    read = decode_photo(data)
    assert read.shape == (6120, 8160, 3)
    assert np.abs(read[::1000, 4000, 0].astype(int) - np.linspace(0, 255, 6120)[::1000]).max() < 4
    at = data.index(b"\xff\xc0") + 5
    with pytest.raises(DataError, match="has more than 256 megapixels, the limit; save it smaller"):
        decode_photo(data[:at] + b"\xff\x00\xff\x00" + data[at + 4 :])
    assert MAX_PIXELS > 16320 * 12240


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP"])
def test_a_small_file_that_would_fill_the_memory_is_refused_by_its_header(kind: str) -> None:
    data = encoded(Image.new("L", (9, 9)), kind)
    size, order = {"PNG": (slice(16, 24), "big"), "GIF": (slice(6, 10), "little"), "BMP": (slice(18, 26), "little")}[
        kind
    ]
    side = (11_000).to_bytes((size.stop - size.start) // 2, order)
    data = data[: size.start] + side + side + data[size.stop :]
    if kind == "PNG":
        data = data[:29] + zlib.crc32(data[12:29]).to_bytes(4, "big") + data[33:]
    with pytest.raises(DataError, match="has more than 100 megapixels, the limit for a file that is not"):
        decode_photo(data)


def test_a_jpeg_of_thousands_of_scans_is_refused(photo: NDArray[np.uint8]) -> None:
    data = encoded(photo, "JPEG", progressive=True)
    first = data.index(b"\xff\xda")
    with pytest.raises(DataError, match=NOT_SUPPORTED):
        decode_photo(data[:-2] + data[first : first + 40] * 500 + data[-2:])


def test_a_truncated_photo_and_a_path_without_one_are_each_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "cut.jpg").write_bytes(PHOTO.read_bytes()[:6000])
    with pytest.raises(DataError, match=f"The photo 'cut.jpg' {NOT_SUPPORTED}"):
        read_photo(tmp_path / "cut.jpg")
    os.mkfifo(tmp_path / "fifo.jpg")
    for path in (tmp_path / "absent.jpg", tmp_path, tmp_path / "fifo.jpg", Path("/dev/zero"), Path("a\0b")):
        with pytest.raises(DataError, match=r"^The photo '.*;.*\.$"):
            read_photo(path)
    with pytest.raises(
        DataError, match=r"^The photo 'xxx.{0,300}cannot be opened \(File name too long\); check the path"
    ):
        read_photo(Path("x" * 5000))


def test_a_sentence_about_a_patients_photo_names_no_file(tmp_path: Path) -> None:
    (tmp_path / "Jane Doe.jpg").write_bytes(b"nothing")
    for path in (tmp_path / "Jane Doe.jpg", tmp_path / "Jane.jpg", tmp_path / ("Jane" * 2000)):
        with pytest.raises(DataError, match=r"^Photo 3 of 7 ") as raised:
            read_photo(path, "Photo 3 of 7")
        assert "Jane" not in str(raised.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not read")
def test_a_photo_that_may_not_be_read_is_a_matter_of_configuration(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    (tmp_path / "closed").mkdir(mode=0o700)
    (tmp_path / "closed/photo.jpg").write_bytes(PHOTO.read_bytes())
    (tmp_path / "closed.jpg").touch(mode=0o600)
    os.seteuid(65534)
    try:
        for name in ("closed/photo.jpg", "closed.jpg"):
            with pytest.raises(ConfigurationError, match="is not readable; check its owner and mode"):
                read_photo(tmp_path / name)
    finally:
        os.seteuid(0)


# --- Fuzz


def sound_files() -> dict[str, bytes]:
    small = Image.open(PHOTO).resize((64, 48))
    exif = turned_exif()
    exif[0x011A], exif[0x010F] = 72.0, "maker"
    files = {
        "cmyk": encoded(small.convert("CMYK"), "JPEG"),
        "progressive": encoded(small, "JPEG", progressive=True, exif=exif),
        "palette": encoded(small.convert("P"), "PNG"),
        "deep": encoded(np.asarray(small.convert("L")).astype(np.uint16) * 16, "PNG"),
        "lzw": encoded(small, "TIFF", compression="tiff_lzw"),
        "jpeg in tiff": encoded(small, "TIFF", compression="jpeg"),
        "heic": (CASES / "photos/small.heic").read_bytes(),
    }
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF"):
        files[kind] = encoded(small, kind, **({} if kind in ("BMP", "GIF") else {"exif": exif}))
    return files


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Some bytes changed (anywhere, or in the header, where formats keep their sizes), cut out or put in."""
    changed, way = bytearray(data), chance.randrange(4)
    for _ in range(chance.choice([1, 1, 2, 5, 20])):
        at = chance.randrange(len(changed) if way else min(len(changed), 300))
        if way < 2:
            changed[at] = chance.choice([0, 1, 255, chance.randrange(256)])
        elif way == 2:
            del changed[at : at + chance.choice([1, 2, 50])]
            changed = changed or bytearray(b"x")
        else:
            changed[at:at] = chance.randbytes(4)
    return bytes(changed[: chance.randrange(len(changed))] if chance.random() < 0.1 else changed)


@pytest.mark.parametrize("count", [1500, pytest.param(40_000, marks=pytest.mark.system)])
def test_mutated_files_are_read_or_refused_in_a_sentence_and_none_hangs(count: int) -> None:
    files, chance, sound = sound_files(), random.Random(count), 0
    for data in files.values():
        assert decode_photo(data).shape in ((48, 64, 3), (64, 48, 3), (96, 128, 3))
    for _ in range(count):
        data = mutated(files[chance.choice(sorted(files))], chance)
        started = time.monotonic()
        try:
            assert decode_photo(data).dtype == np.uint8
            sound += 1
        except DataError:
            pass
        assert time.monotonic() - started < 20
    assert count * 0.1 < sound < count * 0.9
