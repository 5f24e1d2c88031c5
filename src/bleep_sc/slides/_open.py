"""Opening a slide: which format it is, and who reads it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bleep_sc.slides._array import open_array
from bleep_sc.slides._picture import open_picture
from bleep_sc.slides._tiff import open_tiff

if TYPE_CHECKING:
    from bleep_sc.slides._slide import Slide

TIFF_BEGINNINGS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PICTURE_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG")
SCANNER_SUFFIXES = (".ndpi", ".mrxs", ".vms", ".vmu", ".bif", ".czi", ".dcm")
"""Formats that OpenSlide knows better than tifffile, or that only OpenSlide knows."""


def open_slide(source: Any) -> Slide:
    """Open an H&E image; of a file no more than the header is read.

    Parameters
    ----------
    source
        A path: TIFF (strips or tiles, pyramids, OME-TIFF, BigTIFF, SVS), JPEG, PNG, and what OpenSlide reads where it
        is installed. An RGB array (height, width, 3), uint8: NumPy, dask or zarr, also with the channels first. An
        image of a SpatialData object, with scales or without. Or a slide, which is returned. What is transparent was
        not scanned, and reads white; channels that are named red, green and blue are read in that order.

    Returns
    -------
    :class:`bleep_sc.slides.Slide`: ``levels``, ``mpp`` with ``mpp_source``, ``read_region``, ``thumbnail``.

    Raises
    ------
    FileNotFoundError
        Without such a file.
    ValueError
        When it is broken, was not written to its end, or is no 8-bit RGB image.
    ImportError
        When the format needs OpenSlide, and it is not installed.

    Examples
    --------
    >>> adata = bs.datasets.toy(n_slices=1)
    >>> image = adata.uns["spatial"]["slice1"]["images"]["hires"]
    >>> with bs.slides.open_slide(image) as slide:
    ...     slide.read_region(10, 20, width=32, height=24).shape
    (24, 32, 3)
    """
    from bleep_sc.slides._slide import Slide

    if isinstance(source, Slide):
        return source
    if not isinstance(source, str | Path):
        return open_array(source)
    path = Path(source)
    if path.is_dir():
        raise ValueError(
            f"{str(path)!r} is a folder. Of a SpatialData store pass the image itself: "
            "spatialdata.read_zarr(path).images[name]."
        )
    if not path.is_file():
        raise FileNotFoundError(f"No image file at {str(path)!r}. If the slide was moved, pass image=, its new path.")
    if path.suffix.lower() in SCANNER_SUFFIXES:
        return _open_with_openslide(path)
    with path.open("rb") as file:
        beginning = file.read(4)
    if beginning in TIFF_BEGINNINGS:
        return open_tiff(path)
    if beginning.startswith(PICTURE_BEGINNINGS):
        return open_picture(path)
    raise ValueError(f"Image {str(path)!r} is no JPEG, PNG or TIFF, or its beginning is broken.")


def _open_with_openslide(path: Path) -> Slide:
    try:
        from bleep_sc.slides._openslide import open_openslide
    except (ImportError, OSError) as error:  # without the C library the import fails with an OSError
        raise ImportError(
            f"{path.suffix} slides are read by OpenSlide: pip install 'bleep-sc[wsi]', or convert the slide to TIFF."
        ) from error
    return open_openslide(path)
