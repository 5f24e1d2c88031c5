"""Tools: fit a reference, embed and impute other slides, score what was imputed."""

from bleep_sc.tl._embed import embed
from bleep_sc.tl._fit import fit
from bleep_sc.tl._fit_ridge import fit_ridge
from bleep_sc.tl._impute import impute
from bleep_sc.tl._load_model import load_model
from bleep_sc.tl._predict import predict
from bleep_sc.tl._score import score
from bleep_sc.tl._to_anndata import to_anndata
from bleep_sc.training.config import FitConfig

__all__ = ["FitConfig", "embed", "fit", "fit_ridge", "impute", "load_model", "predict", "score", "to_anndata"]
