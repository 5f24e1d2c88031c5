"""What libjpeg complains of while it decodes; a JPEG has no checksum, and damaged ones decode to something."""

from __future__ import annotations

import logging
import struct
import threading
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DAMAGE = ("Corrupt JPEG data", "Premature end of JPEG", "Inconsistent progression")
"""How complaints begin that are about lost or altered pixels."""
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
ALONE = {0x01, *range(0xD0, 0xD9)}
"""Markers without a length."""
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
JFIF, ADOBE = 0xE0, 0xEE
SHORT, LONG, BYTES = 3, 4, 7
"""Types of TIFF tags."""


def complaint(data: bytes) -> str | None:
    """Return what libjpeg finds damaged, None where it finds nothing."""
    return decode(data)[1]


def decode(
    data: bytes, tables: bytes | None = None, *, is_rgb: bool = False
) -> tuple[NDArray[np.uint8] | None, str | None]:
    """Return the pixels, None where libtiff does not read them, and what libjpeg finds damaged.

    imagecodecs' own decoder keeps the complaints of libjpeg to itself. Those of libtiff are logged: so the JPEG is read
    as the only strip of a TIFF.

    Parameters
    ----------
    data, tables
        The JPEG, and the tables that it lacks, if it does.
    is_rgb
        Whether it holds RGB, and not YCbCr.
    """
    import imagecodecs

    wrapped = _as_tiff(data, tables or b"", is_rgb=is_rgb)
    if wrapped is None:
        return None, None
    heard = _listener().heard = []
    try:
        pixels = imagecodecs.tiff_decode(wrapped, verbose=1)
    except RuntimeError:  # of very large progressive ones, among others
        pixels = None
    finally:
        _listener().heard = None
    if pixels is not None and is_rgb and block_size(data) != (8, 8):  # smaller chroma is converted, which is wrong here
        pixels = None
    return pixels, next((said for said in heard if said.startswith(DAMAGE)), None)


def color_space(data: bytes) -> str | None:
    """Return "RGB" or "YCbCr" where the JPEG says which it holds, as libjpeg reads it."""
    markers = dict(_markers(data))
    adobe = markers.get(ADOBE, b"")
    if adobe.startswith(b"Adobe") and len(adobe) > 11 and adobe[11] in (0, 1):
        return ("RGB", "YCbCr")[adobe[11]]
    if markers.get(JFIF, b"").startswith(b"JFIF"):
        return "YCbCr"
    frame = next((content for marker, content in markers.items() if marker in FRAMES), b"")
    return "RGB" if frame[6::3] == b"RGB" else None


def _markers(data: bytes) -> list[tuple[int, bytes]]:
    """Return the markers before the first scan, and what they hold."""
    found, place = [], 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker in ALONE or marker == 0xFF:  # 0xFF fills
            place += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        found.append((marker, data[place + 4 : place + 2 + length]))
        if marker in (START_OF_SCAN, END_OF_IMAGE):
            break
        place += 2 + length
    return found


def block_size(data: bytes) -> tuple[int, int]:
    """Return height and width of the blocks that are coded one after the other, px."""
    _, _, _, (across, down) = _frame(data) or (0, 0, 0, (1, 1))
    return 8 * down, 8 * across


def _frame(data: bytes) -> tuple[int, int, int, tuple[int, int]] | None:
    """Return height, width, channels, and how much finer than the others the first of these is, across and down."""
    content = next((content for marker, content in _markers(data) if marker in FRAMES), b"")
    if len(content) < 6 or len(content) < 6 + 3 * content[5]:
        return None
    height, width, n_channels = struct.unpack(">HHB", content[1:6])
    first, *others = [divmod(each, 16) for each in content[7 : 6 + 3 * n_channels : 3]] or [(0, 0)]
    if n_channels not in (1, 3) or any(each != (1, 1) for each in others) or 0 in first:
        return None
    return height, width, n_channels, first if n_channels == 3 else (1, 1)


def _as_tiff(data: bytes, tables: bytes, *, is_rgb: bool) -> bytes | None:
    """Return a TIFF whose only strip is the JPEG; None of one that a TIFF cannot hold."""
    frame = _frame(data)
    if frame is None:
        return None
    height, width, n_channels, (across, down) = frame
    tags = [
        (256, LONG, 1, width),
        (257, LONG, 1, height),
        (258, SHORT, 1, 8),  # bits; of all channels, says libtiff, where there is one value
        (259, SHORT, 1, 7),  # JPEG
        (262, SHORT, 1, 1 if n_channels == 1 else 2 if is_rgb and (across, down) == (1, 1) else 6),  # grey, RGB, YCbCr
        (273, LONG, 1, None),
        (277, SHORT, 1, n_channels),
        (278, LONG, 1, height),
        (279, LONG, 1, len(data)),
        (347, BYTES, len(tables), None),
        (530, SHORT, 2, across | down << 16),  # how much smaller the chroma is
    ]
    if not tables:
        tags.pop(-2)
    begin = 8 + 2 + 12 * len(tags) + 4
    places = {273: begin + len(tables), 347: begin}
    entries = [struct.pack("<HHII", tag, kind, n, places.get(tag, value)) for tag, kind, n, value in tags]
    return b"".join([b"II*\0", struct.pack("<IH", 8, len(tags)), *entries, bytes(4), tables, data])


class _Listener(threading.local, logging.Filter):
    """Takes what imagecodecs logs in the thread that asks, and lets everything else pass."""

    heard: list[str] | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        if self.heard is None:
            return True
        self.heard.append(record.getMessage())
        return False


@cache
def _listener() -> _Listener:
    listener = _Listener()
    logging.getLogger("imagecodecs").addFilter(listener)
    return listener
