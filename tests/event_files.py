"""Reads TensorBoard's event files from the definition of TensorFlow's record format, and checks both checksums."""

from __future__ import annotations

import struct
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event

CASTAGNOLI = 0x82F63B78


def crc32c(data: bytes) -> int:
    """Bit by bit, from its definition (RFC 3720)."""
    found = 0xFFFFFFFF
    for byte in data:
        found ^= byte
        for _ in range(8):
            found = found >> 1 ^ (CASTAGNOLI if found & 1 else 0)
    return found ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
    """As TensorFlow's record format defines it."""
    found = crc32c(data)
    return ((found >> 15 | found << 17) + 0xA282EAD8) & 0xFFFFFFFF


def events(path: Path) -> list[Event]:
    """Read a file as TensorFlow's record format defines it, with both checksums."""
    data, found = path.read_bytes(), []
    while data:
        (size,) = struct.unpack("<Q", data[:8])
        body = data[12 : 12 + size]
        assert struct.unpack("<I", data[8:12])[0] == masked(data[:8])
        assert struct.unpack("<I", data[12 + size : 16 + size])[0] == masked(body)
        found.append(Event.FromString(body))
        data = data[16 + size :]
    return found


def read_curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Tag -> (step, value) in the order of the files' names, which is TensorBoard's."""
    found: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(folder.iterdir()):
        for event in events(path):
            for value in event.summary.value:
                if not value.metadata.plugin_data.plugin_name:
                    found.setdefault(value.tag, []).append((event.step, round(value.simple_value, 4)))
    return found
