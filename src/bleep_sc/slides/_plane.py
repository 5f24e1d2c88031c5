"""One image in a TIFF, or one colour of it: where its strips or tiles are, and what is in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._output.messages import logger
from bleep_sc.slides._colors import JPEG, JPEG_2000, PALETTE, RGB, YCBCR, as_colors
from bleep_sc.slides._jpeg import color_space, decode
from bleep_sc.slides._rgb import broken, check_fits_memory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path

    from numpy.typing import NDArray

WHITE = 255
"""Of a tile that a scanner left out."""
LARGE = 128 * 2**20
"""Decoded bytes of one strip or tile above which it is kept, not decoded again for every region."""
RAW_CHUNK = (64, 64)
"""What regions of uncompressed files may be aligned to; nothing is decoded there."""
BEGINNING = 2**20
"""Bytes of a strip or tile that hold its headers, a colour profile among them; of a large one the rest is not read."""
LZW, DEFLATE = 5, (8, 32946)


@dataclass
class Plane:
    """Strips or tiles, each decoded once for every region."""

    path: Path
    keyframe: Any
    """Says how to decode."""
    page: Any
    """Says where the bytes are."""
    height: int
    width: int
    sample: int | None = None
    """Which colour, where every colour has strips or tiles of its own."""
    decoded: NDArray[np.uint8] | None = None
    """The whole plane, where it is one large strip."""

    @property
    def segment(self) -> tuple[int, int]:
        """Height and width of a strip or tile."""
        frame = self.keyframe
        if frame.is_tiled:
            return frame.tilelength, frame.tilewidth
        return min(frame.rowsperstrip, self.height), self.width

    @property
    def n_down(self) -> int:
        """Strips or tiles from top to bottom."""
        return -(-self.height // self.segment[0])

    @property
    def n_across(self) -> int:
        """Strips or tiles from left to right."""
        return -(-self.width // self.segment[1])

    @property
    def first(self) -> int:
        """Number of the first strip or tile in the file's list."""
        return (self.sample or 0) * self.n_down * self.n_across

    @property
    def is_raw(self) -> bool:
        """Whether the pixels stand in the file as they are."""
        as_they_are = self.page.is_contiguous and self.keyframe.is_memmappable
        return bool(as_they_are and self.keyframe.photometric != PALETTE)

    @property
    def chunk(self) -> tuple[int, int]:
        """Height and width of what is decoded at once."""
        return RAW_CHUNK if self.is_raw else self.segment

    @property
    def is_one_large_strip(self) -> bool:
        """Whether it is better decoded once, or read in bands."""
        height, width = self.segment
        return not self.is_raw and 3 * height * width > LARGE

    @property
    def is_deflated_strips(self) -> bool:
        """Whether libtiff reads it as well; it trusts LZW of any length, and deflate has a checksum."""
        frame = self.keyframe
        is_rgb = frame.photometric == RGB and frame.planarconfig == 1
        return is_rgb and not frame.is_tiled and frame.compression in DEFLATE

    @property
    def samples(self) -> int:
        """Colours that are stored together."""
        return self.keyframe.samplesperpixel if self.keyframe.planarconfig == 1 else 1

    @property
    def opacity(self) -> int | None:
        """What the first channel beyond red, green and blue is, as the file says."""
        extra = self.keyframe.extrasamples
        return int(extra[0]) if extra else None

    def extents(self) -> Iterator[tuple[int, int]]:
        """Where every strip or tile begins in the file, and how long it is."""
        if not self.is_raw:
            return zip(self.page.dataoffsets, self.page.databytecounts, strict=True)
        n_bytes = self.height * self.width * self.samples
        is_there = self.page.databytecounts[0] > 0
        return iter([(self.page.dataoffsets[0] + (self.sample or 0) * n_bytes, n_bytes * is_there)])

    def first_segment(self) -> bytes:
        """Return the beginning of the first strip or tile that is in the file, not decoded, where it has headers."""
        if self.keyframe.compression not in (*JPEG, *JPEG_2000):
            return b""
        offset, length = next((extent for extent in self.extents() if min(extent) > 0), (0, 0))
        handle = self.keyframe.parent.filehandle
        handle.seek(offset)
        return bytes(handle.read(min(length, BEGINNING)))

    def read_into(self, region: NDArray[np.uint8], x: int, y: int, pool: ThreadPoolExecutor) -> None:
        """Fill a region (height, width, channels) whose upper left px is (x, y)."""
        height, width, n_channels = region.shape
        if self.is_raw:
            pixels = self._mapped()
            region[...] = pixels[y : y + height, x : x + width, :n_channels]
            return
        if self.is_one_large_strip:
            if self.decoded is None:
                self._decode_whole(n_channels, pool)
            region[...] = self.decoded[y : y + height, x : x + width]  # type: ignore[index]
            return
        self._decode_into(region, x, y, pool)

    def _mapped(self) -> NDArray[np.uint8]:
        """Return the raw pixels (height, width, samples), mapped from the file for as long as they are used."""
        ((offset, _),) = self.extents()
        return np.memmap(self.path, np.uint8, "r", offset, (self.height, self.width, self.samples))

    def _decode_whole(self, n_channels: int, pool: ThreadPoolExecutor) -> None:
        n_bytes = self.height * self.width * n_channels
        remedy = "With pyvips it is read in bands (pip install 'bleep-sc[wsi]'); or convert it to a tiled TIFF."
        check_fits_memory(n_bytes, str(self.path), remedy)
        logger.warning("%s is one strip, and is decoded whole (%.1f GiB). %s", self.path.name, n_bytes / 2**30, remedy)
        whole = np.empty((self.height, self.width, n_channels), dtype=np.uint8)
        self._decode_into(whole, 0, 0, pool)
        self.decoded = whole

    def _decode_into(self, region: NDArray[np.uint8], x: int, y: int, pool: ThreadPoolExecutor) -> None:
        height, width, n_channels = region.shape
        tall, wide = self.segment
        rows, columns = range(y // tall, -(-(y + height) // tall)), range(x // wide, -(-(x + width) // wide))
        places = {self.first + row * self.n_across + column: (row, column) for row in rows for column in columns}
        extents = {i: (self.page.dataoffsets[i], self.page.databytecounts[i]) for i in places}
        written = [i for i in places if min(extents[i]) > 0]
        if len(written) < len(places):
            region[...] = WHITE
        offsets, lengths = [extents[i][0] for i in written], [extents[i][1] for i in written]

        def decode(segment: tuple[bytes, int]) -> None:
            row, column = places[segment[1]]
            top, left = max(y, row * tall), max(x, column * wide)
            bottom, right = min(y + height, (row + 1) * tall), min(x + width, (column + 1) * wide)
            try:
                pixels = self._decoded(*segment)
                part = pixels[top - row * tall : bottom - row * tall, left - column * wide : right - column * wide]
                region[top - y : bottom - y, left - x : right - x] = part[..., :n_channels]
            except Exception as error:  # codecs raise many kinds
                where = f"at x = {column * wide}, y = {row * tall}: {error}"
                raise broken(self.path, " as TIFF", where) from error

        read = self.keyframe.parent.filehandle.read_segments(offsets, lengths, written) if written else ()
        for _ in pool.map(decode, read):
            pass

    def _decoded(self, data: bytes, index: int) -> NDArray[np.uint8]:
        """Return the pixels of a strip or tile, (height, width, samples)."""
        frame, tables = self.keyframe, {}
        if frame.compression in JPEG:
            tables = {"jpegtables": self.page.jpegtables, "jpegheader": frame.jpegheader}
            said = color_space(data) or ("RGB" if frame.photometric == RGB else "YCbCr")
            pixels, damage = decode(data, self.page.jpegtables, is_rgb=said == "RGB")
            if damage is not None:
                raise ValueError(damage)
            if pixels is not None and pixels.ndim == 3:
                return pixels
        if frame.compression == LZW:
            self._check_length(data, index)
        if frame.compression in JPEG_2000 and frame.photometric == YCBCR:
            import imagecodecs

            return as_colors(frame, imagecodecs.jpeg2k_decode(data), data)  # of which tifffile takes none
        pixels = frame.decode(data, index, **tables)[0][0]  # (height, width, samples)
        return as_colors(frame, pixels, data)

    def _check_length(self, data: bytes, index: int) -> None:
        """Refuse LZW that holds more or less than it should: it has no checksum, and decoders cut off the rest."""
        import imagecodecs

        n_bytes, row = len(imagecodecs.lzw_decode(data)), (index - self.first) // self.n_across
        tall, wide = self.segment
        here = tall if self.keyframe.is_tiled else min(tall, self.height - row * tall)
        bits = wide * self.samples * self.keyframe.bitspersample
        if n_bytes not in (here * -(-bits // 8), tall * -(-bits // 8)):
            raise ValueError(f"{n_bytes} instead of {here * -(-bits // 8)} bytes are in it")
