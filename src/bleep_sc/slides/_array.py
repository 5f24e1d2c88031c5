"""Slides that are arrays: NumPy, dask, zarr, and the images of SpatialData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._output.messages import logger
from bleep_sc.slides._alpha import over_white, read_over_white
from bleep_sc.slides._channels import color_order
from bleep_sc.slides._rgb import UnusableImage, check_fits_memory, check_is_rgb
from bleep_sc.slides._slide import IN_MEMORY, Level, Slide

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHANNELS = (3, 4)
LARGE = 256 * 2**20
"""Bytes of one chunk that are better decoded once than again for every region."""


def open_array(source: Any) -> Slide:
    """Open an array, or an image of SpatialData with or without scales, as a slide."""
    images = _scales(source)
    order = _color_order(images[0])
    arrays = [_channels_last(_data(each)) for each in images]
    for array in arrays:
        check_is_rgb(array.shape, array.dtype, "array")
    arrays = [_decoded_once(array) for array in arrays]
    width = arrays[0].shape[1]
    levels = tuple(Level(each.shape[1], each.shape[0], width / each.shape[1], _chunk(each)) for each in arrays)

    def read_channels(level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        pixels = np.asarray(arrays[level][y : y + height, x : x + width, :])
        return pixels if order is None else pixels[..., list(order)]

    def read(level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        return over_white(read_channels(level, x, y, width, height))

    is_told = order is not None or arrays[0].shape[2] == 3
    read_rgb = read if is_told else read_over_white(read_channels, levels, IN_MEMORY)
    return Slide(IN_MEMORY, levels, float("nan"), "an array has no resolution of its own", read_rgb)


def _scales(source: Any) -> list[Any]:
    """Return the images of every scale of SpatialData, or the one."""
    if hasattr(source, "children"):  # xarray.DataTree: scale0, scale1, ...
        return [next(iter(scale.ds.values())) for scale in source.children.values()]
    return [source]


def _color_order(image: Any) -> tuple[int, ...] | None:
    """Return which channels of an xarray.DataArray are red, green and blue, where it names them."""
    named = hasattr(image, "dims") and "c" in image.coords
    return color_order(image.coords["c"].values.tolist(), IN_MEMORY) if named else None


def _data(image: Any) -> Any:
    """Return the array behind an xarray.DataArray, with its axes as (y, x, c)."""
    if not hasattr(image, "dims"):
        return image if hasattr(image, "shape") and hasattr(image, "dtype") else np.asarray(image)
    if set(image.dims) != {"c", "y", "x"}:
        raise UnusableImage(f"The image has the axes {tuple(map(str, image.dims))}; a slide has c, y and x.")
    return image.transpose("y", "x", "c").data


def _channels_last(array: Any) -> Any:
    """Return an array or lazy view whose last axis has the channels."""
    if len(array.shape) == 3 and array.shape[2] not in CHANNELS and array.shape[0] in CHANNELS:
        return _ChannelsFirst(array)
    return array


class _ChannelsFirst:
    """A lazy view of (c, y, x) as (y, x, c)."""

    def __init__(self, array: Any) -> None:
        self.array, self.dtype = array, array.dtype
        self.shape = (array.shape[1], array.shape[2], array.shape[0])

    def __getitem__(self, region: tuple[slice, slice, slice]) -> NDArray[Any]:
        rows, columns, channels = region
        return np.moveaxis(np.asarray(self.array[channels, rows, columns]), 0, -1)


def _chunk(array: Any) -> tuple[int, int]:
    """Return height and width of what is read at once; an array in memory is one chunk."""
    inner = array.array if isinstance(array, _ChannelsFirst) else array
    chunks = getattr(inner, "chunks", None)
    if chunks is None:
        return array.shape[0], array.shape[1]
    sizes = [max(each) if isinstance(each, tuple) else int(each) for each in chunks]  # dask's are tuples, zarr's not
    return (sizes[1], sizes[2]) if isinstance(array, _ChannelsFirst) else (sizes[0], sizes[1])


def _decoded_once(array: Any) -> Any:
    """Load a lazy array whose only chunk is a whole slide: every region would decode it anew."""
    height, width, n_channels = array.shape
    n_bytes = height * width * n_channels
    if isinstance(array, np.ndarray) or _chunk(array) != (height, width) or n_bytes < LARGE:
        return array
    remedy = "Write the SpatialData object to zarr and read it again, or pass the path of the image file."
    check_fits_memory(n_bytes, "array", remedy)
    logger.warning("The slide is one chunk, and is decoded whole (%.1f GiB). %s", n_bytes / 2**30, remedy)
    return np.asarray(array[:, :, :])
