"""The body of a request: read within bounds, and taken apart into images and fields.

A body is refused while it is read, as soon as it is too large, too slow or too much beside the other bodies, whatever
its Content-Length says. Taking it apart searches it in C and makes no more parts than are allowed, so that no body is
dearer than another of its size. Nothing is written to the disk.
"""

import asyncio
import base64
import binascii
import json
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import Message
from typing import Any, NoReturn

from starlette.requests import Request

from plusx.deploy.server.faults import Fault
from plusx.deploy.server.settings import Settings

NAME = 200
"""Characters of a name that are echoed."""
FIELD = 1_000
"""Bytes of a field that is no file."""
FIELDS = 16
"""Fields that are no files."""
HEAD = 8_192
"""Bytes of the head of a part."""
CLOSE = {"Connection": "close"}
"""Where the rest of a body is not read."""


@dataclass(frozen=True)
class Asked:
    """What a request asks."""

    images: tuple["Sent", ...]
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Texts from a form, anything from JSON."""


@dataclass(frozen=True)
class Sent:
    """An image as it was sent."""

    name: str
    """As it may be shown."""
    raw: bytes
    fault: str | None = None
    """Why there are no bytes."""


class Held:
    """The bytes of all bodies that are held."""

    def __init__(self, limit: int) -> None:
        self.bytes, self.limit = 0, limit


@asynccontextmanager
async def received(request: Request, settings: Settings, held: Held) -> AsyncIterator[bytes]:
    """The body of a request, which counts among those that are held until the block ends.

    Raises:
        Fault: It is too large (413), too slow (408), or the server holds too many (503).
        ClientDisconnect: The client is gone.
    """
    limit, size, buffer = settings.body_bytes, 0, bytearray()
    too_large = Fault(413, f"the body is larger than {limit:,} bytes; send fewer or smaller images", CLOSE)
    claimed = request.headers.get("content-length", "")
    if claimed.isdecimal() and int(claimed[:20]) > limit:
        raise too_large
    try:
        async with asyncio.timeout(settings.body_seconds):
            async for chunk in request.stream():
                buffer += chunk
                size += len(chunk)
                held.bytes += len(chunk)
                if size > limit:
                    raise too_large
                if held.bytes > held.limit:
                    raise Fault(503, "the server is busy with other bodies; try again", {"Retry-After": "1", **CLOSE})
        body = bytes(buffer)
        buffer.clear()
        yield body
    except TimeoutError:
        raise Fault(408, f"the body took more than {settings.body_seconds:g} seconds to arrive", CLOSE) from None
    finally:
        held.bytes -= size


def take_apart(content_type: str, body: bytes, settings: Settings, fields: Sequence[str]) -> Asked:
    """The images and fields of a body, a form or JSON.

    Args:
        content_type: Of the request.
        body: All of it.
        settings: The limits.
        fields: Names that are known beside `files`, or `images` and `names`.

    Raises:
        Fault: It is neither (415), is not what it says, lacks images or has what is not known (400), or has too many
            images (413).

    Example:
        >>> asked = take_apart("application/json", b'{"images": ["aGk="], "top_k": 3}', Settings(), ["top_k"])
        >>> asked.images[0].raw, asked.fields
        (b'hi', {'top_k': 3})
    """
    head = Message()
    head["content-type"] = content_type.encode("ascii", "replace").decode()
    match head.get_content_type() if content_type else "":
        case "multipart/form-data":
            boundary = head.get_param("boundary")
            if not isinstance(boundary, str) or not 1 <= len(boundary) <= 70:
                raise Fault(400, "the Content-Type of a form must have a boundary of 1 to 70 characters")
            asked = _of_form(body, boundary.encode("ascii", "replace"), settings, fields)
        case "application/json":
            asked = _of_json(body, settings, fields)
        case _:
            raise Fault(415, "send a form (multipart/form-data) with the field files, or JSON with the key images")
    if not asked.images:
        raise Fault(400, "there is no image: a form has them in the field files, JSON under the key images, in base64")
    return asked


def shown(name: str) -> str:
    r"""A name that somebody sent as it may be shown: what cannot be printed is replaced, and the end cut off.

    Example:
        >>> shown("cat\x00\u202e.jpg"), len(shown("x" * 1000))
        ('cat\ufffd\ufffd.jpg', 200)
    """
    return "".join(character if character.isprintable() else "\ufffd" for character in name[:NAME])


def _of_form(body: bytes, boundary: bytes, settings: Settings, known: Sequence[str]) -> Asked:
    images: list[Sent] = []
    fields: dict[str, str] = {}
    most = settings.images + FIELDS
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary, most + 2)
    if len(pieces) > most + 2:
        raise Fault(413, f"the form has more than {settings.images} images and {FIELDS} fields")
    if len(pieces) < 2 or pieces[0].strip() or not pieces[-1].startswith(b"--"):
        raise Fault(400, "the form is cut off, or has another boundary than its Content-Type says")
    for piece in pieces[1:-1]:
        head, found, content = piece.partition(b"\r\n\r\n")
        if not found or not head.startswith(b"\r\n") or len(head) > HEAD:
            raise Fault(400, "a part of the form has no head that can be read")
        name, file = _disposition(head)
        if name == "files":
            if len(images) == settings.images:
                _too_many(settings)
            images.append(Sent(shown(file or f"image {len(images) + 1}"), content))
        elif name is not None and name in known:
            if len(content) > FIELD or name in fields:
                raise Fault(400, f"the field {name} is longer than {FIELD:,} bytes, or is there twice")
            fields[name] = content.decode(errors="replace")
        else:
            raise Fault(400, f"the form has a field {shown(name or '')!r}; its fields are {_listed('files', known)}")
    return Asked(tuple(images), fields)


def _disposition(head: bytes) -> tuple[str | None, str | None]:
    """The name of a part of a form, and that of its file."""
    for line in head.split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.strip().lower() == b"content-disposition":
            parsed = Message()
            text = value.strip().decode(errors="replace")
            parsed["content-disposition"] = "".join(c if c.isprintable() else "\ufffd" for c in text)
            try:
                name, file = parsed.get_param("name", header="content-disposition"), parsed.get_filename()
            except (ValueError, LookupError):  # a faulty encoding of a name, as RFC 2231 has them
                return None, None
            return (name if isinstance(name, str) else None), file
    return None, None


def _of_json(body: bytes, settings: Settings, known: Sequence[str]) -> Asked:
    try:
        content = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as fault:  # UnicodeDecodeError is a ValueError
        why = "it is nested too deeply" if isinstance(fault, RecursionError) else str(fault)
        raise Fault(400, f"the body is not JSON: {shown(why)}") from None
    if not isinstance(content, dict):
        raise Fault(400, 'the body must be an object of JSON: {"images": ["...", ...]}')
    if unknown := [key for key in content if key not in ("images", "names", *known)]:
        raise Fault(
            400, f"the body has a key {shown(unknown[0])!r}; its keys are {_listed('images', ['names', *known])}"
        )
    images, names = content.get("images"), content.get("names")
    if not isinstance(images, list) or not all(isinstance(each, str) for each in images):
        raise Fault(400, "images must be a list of texts, each an image's file in base64")
    if len(images) > settings.images:
        _too_many(settings)
    if names is None:
        names = [f"image {number}" for number in range(1, len(images) + 1)]
    if not isinstance(names, list) or not all(isinstance(each, str) for each in names) or len(names) != len(images):
        raise Fault(400, "names must be a list of texts, as many as there are images")
    fields = {key: content[key] for key in known if key in content}
    return Asked(tuple(_of_base64(shown(name), text) for name, text in zip(names, images, strict=True)), fields)


def _of_base64(name: str, text: str) -> Sent:
    try:
        return Sent(name, base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):  # the latter for characters outside ASCII
        return Sent(name, b"", "not base64, the letters A-Z a-z 0-9 + / and = at the end alone")


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _too_many(settings: Settings) -> NoReturn:
    raise Fault(413, f"a request may have {settings.images} images; send the others in another")


def _listed(first: str, others: Sequence[str]) -> str:
    return f"{', '.join((first, *others[:-1]))} and {others[-1]}"


def whole_number(value: Any, name: str, *, default: int) -> int:
    """A field that counts something, from 1 on.

    Raises:
        Fault: It is no such number (400).

    Example:
        >>> whole_number("3", "top_k", default=5), whole_number(None, "top_k", default=5)
        (3, 5)
    """
    if value is None:
        return default
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 9:
        value = int(value)
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise Fault(400, f"{name} must be a whole number from 1 on")
    return value


def text_field(value: Any, name: str) -> str | None:
    """A field that is a text.

    Raises:
        Fault: It is none (400).
    """
    if value is None or isinstance(value, str):
        return value
    raise Fault(400, f"{name} must be a text")
