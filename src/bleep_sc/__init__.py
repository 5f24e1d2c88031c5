"""Spatially resolved gene expression from H&E histology: BLEEP, inside scverse.

The subpackages are loaded when they are first used, so that ``import bleep_sc`` stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bleep_sc._version import __version__

if TYPE_CHECKING:
    from bleep_sc import bm, datasets, io, metrics, models, pl, pp, slides, tl

__all__ = ["__version__", "bm", "datasets", "io", "metrics", "models", "pl", "pp", "slides", "tl"]

SUBPACKAGES = ("bm", "datasets", "io", "metrics", "models", "pl", "pp", "slides", "tl")


def __getattr__(name: str) -> Any:
    if name in SUBPACKAGES:
        return import_module(f"bleep_sc.{name}")
    raise AttributeError(f"module 'bleep_sc' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
