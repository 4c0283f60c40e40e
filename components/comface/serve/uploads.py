"""Reads the body of a request: multipart/form-data with photos and fields, in memory.

In: the chunks of a body. Out: a Form. FastAPI's own reader writes files above 1 MB to a temporary file; this one keeps
photos in memory, and stops at the first byte beyond a limit.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from comface.serve.limits import Limits, Refusal

PHOTOS = ("photos", "photos[]")
MOST_FIELDS, FIELD_BYTES = 16, 1000


@dataclass
class Form:
    photos: list[bytearray] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)


class FormReader:
    """`write` takes the chunks in order; `form` ends the body. Raises Refusal."""

    def __init__(self, content_type: str, limits: Limits) -> None:
        kind, parameters = parse_options_header(content_type)
        boundary = parameters.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise Refusal(415, "not_a_form", "Send the photos as multipart/form-data, each as a part named `photos`.")
        self._limits, self._form, self._complete = limits, Form(), False
        self._name, self._header, self._value, self._disposition = "", b"", b"", b""
        self._part = bytearray()
        handlers = {
            "on_part_begin": self._part_begins,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_ends,
            "on_headers_finished": self._headers_end,
            "on_part_data": self._data,
            "on_part_end": self._part_ends,
            "on_end": self._ends,
        }
        try:
            self._parser = MultipartParser(boundary, handlers)  # type: ignore[arg-type]
        except FormParserError:
            raise _malformed() from None

    def write(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise _malformed() from None

    def form(self) -> Form:
        if not self._complete:
            raise _malformed()
        return self._form

    def _part_begins(self) -> None:
        self._name, self._disposition, self._part = "", b"", bytearray()

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_ends(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _headers_end(self) -> None:
        name = parse_options_header(self._disposition)[1].get(b"name", b"")
        self._name = name.decode("utf-8", "replace")
        if self._name in PHOTOS and len(self._form.photos) >= self._limits.photos:
            raise Refusal(413, "too_many_photos", f"Send at most {self._limits.photos} photos at a time.")
        if self._name not in PHOTOS and len(self._form.fields) >= MOST_FIELDS:
            raise _malformed()

    def _data(self, data: bytes, start: int, end: int) -> None:
        photo = self._name in PHOTOS
        if len(self._part) + end - start > (self._limits.photo_bytes if photo else FIELD_BYTES):
            raise self._limits.photo_too_large(len(self._form.photos) + 1) if photo else _malformed()
        self._part += data[start:end]

    def _part_ends(self) -> None:
        if self._name in PHOTOS:
            self._form.photos.append(self._part)
        elif self._name:
            self._form.fields[self._name] = self._part.decode("utf-8", "replace")

    def _ends(self) -> None:
        self._complete = True


def _malformed() -> Refusal:
    return Refusal(400, "malformed_form", "The form is malformed or truncated; send the request again.")
