"""Preprocessing: patches, image features, genes, batches. Nothing here knows a model but by what it recorded."""

from bleep_sc._adata.written import tell_what_is_written
from bleep_sc._output.arguments import check_calls_of
from bleep_sc.pp._batch_correct import batch_correct
from bleep_sc.pp._extract_patches import extract_patches
from bleep_sc.pp._gather_cells import gather_cells
from bleep_sc.pp._image_features import image_features
from bleep_sc.pp._multi_tile_features import multi_tile_features
from bleep_sc.pp._normalize_stains import normalize_stains
from bleep_sc.pp._prediction_features import prediction_features
from bleep_sc.pp._read_features import read_features
from bleep_sc.pp._register import register
from bleep_sc.pp._register_scan import register_scan
from bleep_sc.pp._register_section import register_section
from bleep_sc.pp._select_genes import select_genes
from bleep_sc.pp._spatial_context import spatial_context
from bleep_sc.pp._sum_bins import sum_bins
from bleep_sc.pp._tile_slide import tile_slide

__all__ = [
    "batch_correct",
    "extract_patches",
    "gather_cells",
    "image_features",
    "multi_tile_features",
    "normalize_stains",
    "prediction_features",
    "read_features",
    "register",
    "register_scan",
    "register_section",
    "select_genes",
    "spatial_context",
    "sum_bins",
    "tile_slide",
]

tell_what_is_written(globals())
check_calls_of(globals())
