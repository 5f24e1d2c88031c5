"""Preprocessing: patches, image features, genes, batches. Nothing here knows a model but by what it recorded."""

from bleep_sc._output.arguments import check_calls_of
from bleep_sc.pp._batch_correct import batch_correct
from bleep_sc.pp._extract_patches import extract_patches
from bleep_sc.pp._image_features import image_features
from bleep_sc.pp._normalize_stains import normalize_stains
from bleep_sc.pp._select_genes import select_genes
from bleep_sc.pp._spatial_context import spatial_context
from bleep_sc.pp._tile_slide import tile_slide

__all__ = [
    "batch_correct",
    "extract_patches",
    "image_features",
    "normalize_stains",
    "select_genes",
    "spatial_context",
    "tile_slide",
]

check_calls_of(globals())
