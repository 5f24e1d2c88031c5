"""Tools: fit a reference, embed and impute other slides, score what was imputed. The math is in models and training."""

from bleep_sc._adata.written import tell_what_is_written
from bleep_sc._output.arguments import check_calls_of
from bleep_sc.tl._blend_place import blend_place
from bleep_sc.tl._check_reference import check_reference
from bleep_sc.tl._conserve import conserve
from bleep_sc.tl._correct_prediction import correct_prediction
from bleep_sc.tl._embed import embed
from bleep_sc.tl._fit import fit
from bleep_sc.tl._fit_he2rna import fit_he2rna
from bleep_sc.tl._fit_hist2rna import fit_hist2rna
from bleep_sc.tl._fit_hist2st import fit_hist2st
from bleep_sc.tl._fit_histogene import fit_histogene
from bleep_sc.tl._fit_ridge import fit_ridge
from bleep_sc.tl._fit_stnet import fit_stnet
from bleep_sc.tl._gene_correlation import gene_correlation
from bleep_sc.tl._impute import impute
from bleep_sc.tl._joint_umap import joint_umap
from bleep_sc.tl._leiden import leiden
from bleep_sc.tl._load_model import load_model
from bleep_sc.tl._load_reference import load_reference
from bleep_sc.tl._predict import predict
from bleep_sc.tl._pseudobulk import pseudobulk
from bleep_sc.tl._push_reference import push_reference
from bleep_sc.tl._restore_variance import restore_variance
from bleep_sc.tl._save_model import save_model
from bleep_sc.tl._score import score
from bleep_sc.tl._score_gene_sets import score_gene_sets
from bleep_sc.tl._share_reference import share_reference
from bleep_sc.tl._to_anndata import to_anndata
from bleep_sc.tl._to_geojson import to_geojson
from bleep_sc.tl._to_spatialdata import to_spatialdata
from bleep_sc.tl._to_table import to_table
from bleep_sc.training.baseline_configs import HisToGeneConfig, StNetConfig
from bleep_sc.training.config import FitConfig
from bleep_sc.training.hist2st_config import Hist2STConfig
from bleep_sc.training.slide_configs import HE2RNAConfig, Hist2RNAConfig

__all__ = [
    "FitConfig",
    "HE2RNAConfig",
    "HisToGeneConfig",
    "Hist2RNAConfig",
    "Hist2STConfig",
    "StNetConfig",
    "blend_place",
    "check_reference",
    "conserve",
    "correct_prediction",
    "embed",
    "fit",
    "fit_he2rna",
    "fit_hist2rna",
    "fit_hist2st",
    "fit_histogene",
    "fit_ridge",
    "fit_stnet",
    "gene_correlation",
    "impute",
    "joint_umap",
    "leiden",
    "load_model",
    "load_reference",
    "predict",
    "pseudobulk",
    "push_reference",
    "restore_variance",
    "save_model",
    "score",
    "score_gene_sets",
    "share_reference",
    "to_anndata",
    "to_geojson",
    "to_spatialdata",
    "to_table",
]

tell_what_is_written(globals())
check_calls_of(globals())
