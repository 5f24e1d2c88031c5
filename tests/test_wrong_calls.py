"""Wrong calls of every public function and command: each is refused, and says which argument, its value, and what mends it.

A valid call of every function stands in ``CALLS``; ``WRONG`` says by the name of an argument what it may not be. Every
argument of every function is tried with all of these.
"""

import hashlib
import inspect
import re
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from click.testing import CliRunner
from scipy import sparse

import bleep_sc as bs
from bleep_sc import cli

NAN = float("nan")
OBJECTS = [None, 3, "toy.h5ad", ["a"]]
ABSENT = [3, "", ["a"], "none-such"]
"""Of one name that must be there."""
ABSENT_LIST = [3, "", "none-such", ["none-such"], [3]]
NEW = [3, "", ["a"], 1.5]
"""Of a name that is given to what is written."""
FILE = [3, "", ["a"], 2.5]
COUNT = [0, -1, 2.5, "many", NAN, [3], 10**12]
FROM_ZERO = [-1, 2.5, "many", NAN, [3], 10**12]
LENGTH = [0, -1.0, NAN, float("inf"), "far", [3]]
SHARE = [0, 1.0, -0.1, 1.5, NAN, "most", [3]]
FLAG = [3, "yes", ["a"], 2.5]
CHOICE = ["none-such", 3, ["a"], ""]
TRANSFORM = [3, "none-such.json", ["a"], [float("nan")]]
CONFIG = [3, "paper", {"max_epochs": 3}]
ARRAY = [None, 3.0, "values", ["a"]]
TABLE = [None, 3, "table.csv", ["a"]]
BOUND = ["many", "p101", NAN, float("inf"), [1.0, 2.0, 3.0]]
MAP = ["none-such"]

WRONG = {
    **dict.fromkeys(["adata", "ref"], OBJECTS),
    **dict.fromkeys(["layer", "library_key", "spatial_key", "patches_key", "batch_key", "sample_key"], ABSENT),
    **dict.fromkeys(["region_key", "donor_key", "group_key", "target_rep", "truth", "mark", "classes", "key"], ABSENT),
    **dict.fromkeys(["model_key", "table_key", "library_id", "group", "gene_key", "ref_layer", "region"], ABSENT),
    "sdata": OBJECTS,
    "tiles": [3, "toy.h5ad", ["a"], []],
    "table_name": NEW,
    "cells": ["none-such"],
    **dict.fromkeys(["use_rep", "genes", "markers", "color", "gene_columns"], ABSENT_LIST),
    **dict.fromkeys(["key_added", "title"], NEW),
    **dict.fromkeys(["path", "store", "checkpoint_dir"], FILE),
    "folder": [3, "", ["a"], "none-such"],
    **dict.fromkeys(
        ["size", "n_top_genes", "n_neighbors", "n_seeds", "n_slices", "n_patches", "n_genes", "batch_size", "n_top"],
        COUNT,
    ),
    **dict.fromkeys(
        ["n_modules", "n_resamples", "side", "min_genes", "n_permutations"],
        COUNT,
    ),
    **dict.fromkeys(["random_state", "num_workers", "n_draws", "min_counts", "min_cells", "min_spots"], FROM_ZERO),
    **dict.fromkeys(["size_um", "mpp", "pitch_um", "radius_um", "spacing_um", "resolution", "target_sum"], LENGTH),
    **dict.fromkeys(["spot_um", "bin_um", "perplexity", "spacing", "width", "height", "side_px", "tolerance"], LENGTH),
    **dict.fromkeys(["interval", "share"], SHARE),
    "min_tissue": [-0.1, 1.5, NAN, "most"],
    "ncols": COUNT,
    "spot_size": LENGTH,
    "groups": ABSENT_LIST,
    **dict.fromkeys(["bw", "frameon", "show", "return_fig", "full_resolution"], FLAG),
    **dict.fromkeys(["vmin", "vmax", "vcenter"], BOUND),
    "img_alpha": [-0.1, 1.5, NAN, "much"],
    "img": ["none-such", 3],
    "crop_coord": [3, "all", (1, 2), (5, 1, 0, 9)],
    "figsize": [3, "wide", (3,), (0, 1), (3, NAN)],
    "na_color": ["no colour", (1, 2)],
    "legend_loc": ["none-such", 3],
    **dict.fromkeys(["cmap", "color_map"], MAP),
    "save": [3, "", ["a"]],
    "min_sharpness": [-0.1, NAN, "most"],
    "min_predictability": [NAN, "most", [0.2]],
    **dict.fromkeys(["copy", "show_progress_bar", "paper", "batch_correct", "return_predictions", "symmetries"], FLAG),
    **dict.fromkeys(["overwrite", "share_scale", "expression", "interpolate"], FLAG),
    **dict.fromkeys(["pad", "basis", "layout", "index", "by", "method", "metric", "gene_sets", "genes_from"], CHOICE),
    **dict.fromkeys(["prediction", "values", "embedding", "counts", "correlation", "scores", "lower", "upper"], ARRAY),
    **dict.fromkeys(
        ["given", "predicted", "measured", "centers", "pixels", "weights", "patches", "points", "matrix"], ARRAY
    ),
    "landmarks": [3, "none-such.csv", ["a"], ""],
    "transform": TRANSFORM,
    "reflection": FLAG,
    "target": ARRAY,
    "model": CHOICE,
    "config": CONFIG,
    "encoder": [3, "none-such", ["a"]],
    "device": [3, "none-such", ["a"]],
    "image": [3, "none-such.tif", ["a"]],
    "source": [3, "none-such.tif", None],
    "ref_weights": [3, "many", [1.0, -1.0], [NAN]],
    "resolutions": [3, "many", [], [0.0], [NAN], ["a"]],
    "names": ["magic", ["magic"], 3],
    "methods": [None, 3, {}, {"ridge": "ridge"}, ["magic"]],
    "predictions": [None, 3, {}],
    "compared": [None, 3, "table"],
    **dict.fromkeys(["table", "summary"], TABLE),
    "reference": [None, 3, "none-such", ["a"]],
    "against": ABSENT,
    "value": CHOICE,
    "sections": ["Z9", ["Z9"], 3, []],
    "slices": ["9", ["9"], 3, []],
    "spot": ["none-such", 10**6, -(10**6), None, 2.5],
}
"""What an argument may not be, by its name."""
FINE = {
    "pp.tile_slide": {
        "library_id": ["none-such"],
        "ref": [None],
        "key": ["none-such"],
        "centers": [None],
        "region": [3, "", ["a"]],
    },
    "pp.extract_patches": {"table_key": ["none-such"]},
    "pp.gather_cells": {"table_key": ["none-such"]},
    "pp.read_features": {"encoder": ["none-such"]},
    "models.load_encoder": {"weights": [None], "transform": TRANSFORM},
    "pp.image_features": {"transform": TRANSFORM},
    "pp.multi_tile_features": {"transform": TRANSFORM},
    "pp.prediction_features": {"model": ["none-such"]},
    "pp.normalize_stains": {"ref": [None]},
    "tl.pseudobulk": {"ref": [None], "donor_key": ["none-such"]},
    "tl.fit": {"patches_key": ["none-such"], "encoder": ["none-such"]},
    "tl.fit_stnet": {"patches_key": ["none-such"], "encoder": ["none-such"]},
    "tl.impute": {"ref": [["a"]], "ref_weights": [[1.0, -1.0], WRONG["ref_weights"][-1]]},
    "tl.score_gene_sets": {"ref": [None]},
    "tl.check_reference": {"encoder": ["none-such"]},
    "pl.viewer": {"ref": [None], "model_key": ["none-such"], "patches_key": ["none-such"]},
    "io.write_page": {"ref": [None]},
    "io.write_index": {"names": [["magic"]]},
    "pl.spatial": {"size": [2.5, 10**12], "title": [["a"]]},
    "pl.confidence": {"size": [2.5, 10**12]},
    "pl.leiden": {"size": [2.5, 10**12]},
    "tl.to_geojson": {"cells": ["none-such"]},
    "bm.external": {"use_rep": ["none-such"], "patches_key": ["none-such"]},
    "bm.methods": {"use_rep": ["none-such", ["none-such"]], "patches_key": ["none-such"]},
    "bm.cross_validate": {"patches_key": ["none-such"]},
    "metrics.crps": {"prediction": [None], "weights": [None]},
    "slides.restain": {"target": ARRAY},
}
"""What is right for one function, or is not read by it with the arguments of ``CALLS``."""
VALUES = np.random.default_rng(0).normal(size=(12, 5))
LABELS = np.repeat(["a", "b", "c"], 4)
WEIGHTS = sparse.csr_matrix(np.full((12, 12), 1 / 12))
COUNTS = np.random.default_rng(0).poisson(5, (12, 5))
METRICS = {
    "batch_mixing": {"embedding": VALUES, "labels": LABELS, "perplexity": 3},
    "bootstrap_interval": {"values": VALUES[:, 0], "groups": LABELS},
    "cluster_agreement": {"a": LABELS, "b": LABELS[::-1]},
    "concordance": {"prediction": VALUES, "truth": VALUES},
    "correlation_agreement": {"a": np.eye(5), "b": np.eye(5)},
    "crps": {"weights": WEIGHTS, "values": VALUES, "truth": VALUES},
    "gene_correlation": {"values": VALUES},
    "gene_modules": {"correlation": np.eye(5), "n_modules": 2},
    "gene_order": {"correlation": np.eye(5)},
    "highest_genes": {"values": VALUES, "slides": LABELS, "by": "mean", "n_top": 2},
    "interval_score": {"lower": VALUES, "upper": VALUES + 1, "truth": VALUES, "share": 0.9},
    "lisi": {"embedding": VALUES, "labels": LABELS, "perplexity": 3},
    "mae": {"prediction": VALUES, "truth": VALUES},
    "module_agreement": {"predicted": np.eye(5), "measured": np.eye(5), "n_modules": 2},
    "noise_ceiling": {"counts": COUNTS, "target_sum": 1e4, "random_state": 0},
    "partial_pearson": {"prediction": VALUES, "truth": VALUES, "given": VALUES**2},
    "pearson": {"prediction": VALUES, "truth": VALUES},
    "permuted": {"prediction": VALUES, "random_state": 0},
    "recovery": {"scores": VALUES[:, 0], "truth": VALUES[:, 1], "n_top": 2},
    "relative_variance_distance": {"prediction": VALUES, "truth": VALUES},
    "reliability": {"counts": COUNTS, "target_sum": 1e4, "random_state": 0},
    "rmse": {"prediction": VALUES, "truth": VALUES},
    "rubin": {"estimates": VALUES, "variances": VALUES**2},
    "spearman": {"prediction": VALUES, "truth": VALUES},
    "ssim": {"prediction": VALUES, "truth": VALUES, "rows": np.arange(12) // 4, "cols": np.arange(12) % 4},
}


def with_own_pictures(adata):
    """A copy, with the pictures of its own slides alone: all that is there is hashed again and again."""
    adata = adata.copy()
    adata.uns["spatial"] = {name: adata.uns["spatial"][name] for name in adata.obs["library_id"].unique()}
    return adata


class World:
    """What calls are made with, small, and made once."""

    def __init__(self, fitted, query, folder):
        self.ref, self.query = with_own_pictures(fitted[::8]), with_own_pictures(query[::6])
        bs.tl.fit_ridge(self.ref, use_rep="X_stain_stats")
        bs.tl.impute(self.query, ref=self.ref, interval=0.9)
        bs.tl.leiden(self.query, resolutions=[1.0])
        for side in (self.ref, self.query):
            side.layers["theirs"] = np.ones(side.shape, dtype=np.float32)
        bs.tl.gene_correlation(self.query)
        self.query.obsm["X_bleep_umap"] = self.query.obsm["spatial"].astype(np.float32)
        places = {"reference": self.ref.obsm["spatial"], "reference_library": self.ref.obs["library_id"].to_numpy()}
        self.query.uns["bleep_umap"] = {**places, "lisi": 0.5, "silhouette": 0.5}
        counts = fitted.copy()
        counts.X = counts.layers["counts"].copy()
        self.counts = counts[:, :40].copy()
        methods = bs.bm.methods(["mean", "ridge"], use_rep="X_stain_stats")
        comparison = {"group_key": "library_id", "use_rep": "X_stain_stats", "n_top_genes": 20}
        self.compared = bs.bm.cross_validate(self.counts, methods, **comparison, return_predictions=True)
        self.methods, self.folder = methods, folder
        bs.tl.save_model(self.ref, folder / "model")
        self.slide = folder / "slide.h5ad"
        with_own_pictures(counts[counts.obs["library_id"] == "slice1", :40]).write_h5ad(self.slide)
        self.image = self.query.uns["spatial"]["slice3"]["images"]["hires"]
        with h5py.File(folder / "read.h5", "w") as file:
            file["coords"], file["features"] = self.query.obsm["spatial"] - 56, self.query.obsm["X_stain_stats"]
        self.landmarks = (np.array([[9.0, 9.0], [900.0, 9.0], [9.0, 900.0], [900.0, 900.0]]),) * 2
        self.bare = AnnData(obs=self.query.obs.copy(), uns={"spatial": self.query.uns["spatial"]})
        self.bare.obsm["spatial"] = self.query.obsm["spatial"]
        self.registered = bs.pp.register(self.bare, self.image, self.landmarks, copy=True)
        corners = [[x, y, x + 9, y] for x, y in self.query.obsm["spatial"].tolist()]
        rings = [[[x, y], [right, y], [right, y + 9], [x, y]] for x, y, right, _ in corners]
        self.outlines = [{"type": "Polygon", "coordinates": [ring]} for ring in rings]
        mpp = self.query.uns["patches"]["slice3"]["mpp"]
        kwargs = {"ref": self.ref, "mpp": mpp, "library_id": "slice3", "show_progress_bar": False}
        self.cells = bs.pp.tile_slide(self.image, cells=self.outlines, **kwargs)
        bs.tl.impute(self.cells, ref=self.ref)
        self.sdata = bs.tl.to_spatialdata(self.cells)

    def calls(self):
        """Arguments of a valid call of every function, by its name."""
        query, ref, counts, (table, predictions) = self.query, self.ref, self.counts, self.compared
        one, pair, bars = {"adata": query}, {"adata": query, "ref": ref}, {"show_progress_bar": False}
        features = {"use_rep": "X_stain_stats"}
        counts_of_one = with_own_pictures(counts[counts.obs["library_id"] == "slice1"])
        counts_of_one.obs["library_id"] = "slice1"
        out, stains = self.folder / "out", bs.slides.fit_reinhard(self.image[::9, ::9].reshape(-1, 3))
        slide = {
            "slide": bs.slides.open_slide(self.image),
            "centers": np.array([[300.0, 300.0]]),
            "side": 64,
            "size": 32,
        }
        return {
            "io.prepare": {"folders": self.slide, "n_top_genes": 20, "encoder": None},
            "pp.batch_correct": {"adata": ref, "batch_key": "library_id"},
            "pp.extract_patches": {**one, "size": 24, "size_um": 112.0},
            "pp.gather_cells": {"adata": counts_of_one, "mpp": 1.0, "spot_um": 220.0},
            "pp.image_features": {**one, "encoder": "stain_stats", **bars},
            "pp.multi_tile_features": {**one, "encoder": "stain_stats", "radius_um": 300.0, **bars},
            "pp.prediction_features": {**one, "layer": "theirs", "model": "theirs"},
            "pp.normalize_stains": {**one, "method": "reinhard"},
            "pp.read_features": {**one, "path": self.folder / "read.h5", "encoder": "uni2", "side_px": 112.0},
            "pp.register": {"adata": self.bare, "image": self.image, "landmarks": self.landmarks},
            "pp.register_scan": {"adata": self.bare, "image": self.image[::4, ::4]},
            "pp.register_section": {"adata": self.bare, "image": self.image[::4, ::4], "mpp": 4.0},
            "pp.select_genes": {"adata": ref, "batch_key": "library_id", "n_top_genes": 40},
            "pp.spatial_context": {**one, **features, "radius_um": 300.0},
            "pp.sum_bins": {"adata": bs.pp.gather_cells(counts_of_one, mpp=1.0, spot_um=220.0), "bin_um": 440.0},
            "pp.tile_slide": {"image": self.image, "mpp": 2.0, "size": 24, "spacing_um": 300.0, **bars},
            "tl.blend_place": pair,
            "tl.correct_prediction": {**pair, "layer": "theirs"},
            "tl.check_reference": {"path": self.folder / "reference"},
            "tl.conserve": {"adata": query, "ref": query},
            "tl.embed": pair,
            "tl.fit": {"adata": ref, **features, "config": bs.tl.FitConfig(max_epochs=1), **bars},
            "tl.fit_hist2st": {
                "adata": ref,
                "config": bs.tl.Hist2STConfig(tile_size=24, n_channels=8, n_heads=1, max_epochs=1, zinb_weight=0),
                **bars,
            },
            "tl.fit_he2rna": {"adata": ref, **features, "config": bs.tl.HE2RNAConfig(max_epochs=1), **bars},
            "tl.fit_hist2rna": {"adata": ref, **features, "config": bs.tl.Hist2RNAConfig(max_epochs=1), **bars},
            "tl.fit_histogene": {"adata": ref, "config": bs.tl.HisToGeneConfig(n_dims=16, max_epochs=1), **bars},
            "tl.fit_ridge": {"adata": ref, **features},
            "tl.fit_stnet": {"adata": ref, **features, "config": bs.tl.StNetConfig(max_epochs=1), **bars},
            "tl.gene_correlation": one,
            "tl.impute": pair,
            "tl.joint_umap": pair,
            "tl.leiden": {**one, "resolutions": [1.0]},
            "tl.load_model": {"reference": ref},
            "tl.load_reference": {"path": self.folder / "reference"},
            "tl.predict": {**pair, "key": "ridge"},
            "tl.pseudobulk": {**one, "sample_key": "library_id", "min_predictability": None},
            "tl.push_reference": {"path": self.folder / "reference", "repo_id": "a/b"},
            "tl.restore_variance": pair,
            "tl.save_model": {"adata": ref, "path": out},
            "tl.score": one,
            "tl.score_gene_sets": {**pair, "gene_sets": {"zonation": ["CYP3A4", "CYP2E1", "FABP1", "HAL", "ALB"]}},
            "tl.share_reference": {"adata": ref, "path": out},
            "tl.to_anndata": one,
            "tl.to_geojson": {**one, "path": out, "genes": "CYP3A4"},
            "tl.to_spatialdata": one,
            "tl.to_table": {"adata": self.cells, "sdata": self.sdata, "region": "slice3"},
            "pl.benchmark": {"table": bs.bm.summarise(table)},
            "pl.calibration": one,
            "pl.confidence": one,
            "pl.gene_correlation": one,
            "pl.history": {"adata": ref},
            "pl.leiden": one,
            "pl.mean_variance": one,
            "pl.patches": one,
            "pl.registration": {"adata": self.registered},
            "pl.retrieval": {**pair, "spot": 0},
            "pl.spatial": {**one, "color": "CYP3A4"},
            "pl.top_genes": {"table": table},
            "pl.umap": one,
            "pl.viewer": pair,
            "io.write_index": {"folder": self.folder},
            "io.write_page": {**pair, "path": out},
            "bm.cross_validate": {
                "adata": counts,
                "methods": self.methods,
                "group_key": "library_id",
                **features,
                "n_top_genes": 20,
            },
            "bm.external": {"model": counts.to_df()},
            "bm.paper_table": {"table": table},
            "bm.held_out": {"adata": counts, "predictions": predictions, "group": "slice1", "group_key": "library_id"},
            "bm.methods": features,
            "bm.report": {"adata": counts, "compared": self.compared, "path": out, "group_key": "library_id"},
            "bm.structure": {**one, "layers": ["bleep"]},
            "bm.summarise": {"table": table},
            "bm.to_latex": {"summary": bs.bm.summarise(table)},
            "datasets.her2st": {},
            "datasets.liver": {"path": self.folder},
            "datasets.mob": {},
            "datasets.references": {},
            "datasets.toy": {"n_slices": 1},
            "slides.cut_patches": slide,
            "slides.fit_landmarks": {"source": self.landmarks[0], "target": self.landmarks[1]},
            "slides.fit_macenko": {"pixels": self.image[0]},
            "slides.fit_reinhard": {"pixels": self.image[0]},
            "slides.grid": {"width": 300.0, "height": 300.0, "spacing": 100.0},
            "slides.label_points": {"points": np.zeros((2, 2)), "regions": []},
            "slides.microns_per_pixel": {
                "array_col": query.obs["array_col"],
                "array_row": query.obs["array_row"],
                "spatial": query.obsm["spatial"],
            },
            "slides.open_slide": {"source": self.image},
            "slides.read_landmarks": {"landmarks": self.landmarks},
            "slides.read_cells": {"cells": self.outlines},
            "slides.read_patches": slide,
            "slides.read_regions": {"source": {"type": "FeatureCollection", "features": []}},
            "slides.restain": {"patches": query.obsm["patches"], "own": stains, "target": stains},
            "slides.sharpness": {"patches": query.obsm["patches"]},
            "slides.transform_points": {"points": np.zeros((2, 2)), "matrix": np.eye(3)},
            "models.anchor_weights": {
                "query": VALUES,
                "keys": VALUES[::-1].copy(),
                "images": VALUES,
                "slides": LABELS,
                "n_neighbors": 3,
            },
            "models.list_encoders": {},
            "models.load_encoder": {"encoder": "stain_stats"},
            **{f"metrics.{name}": given for name, given in METRICS.items()},
        }


@pytest.fixture(scope="module")
def world(_fitted, _toy, tmp_path_factory):
    return World(_fitted.copy(), _toy[_toy.obs["library_id"] == "slice3"].copy(), tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def calls(world):
    return world.calls()


def function_of(name):
    package, name = name.split(".")
    return getattr(getattr(bs, package), name)


def wrong_calls():
    """Every function with every wrong value of every argument."""
    for package in ("io", "pp", "tl", "pl", "bm", "datasets", "slides", "models", "metrics"):
        module = getattr(bs, package)
        for name in module.__all__:
            if not inspect.isfunction(getattr(module, name)) or name.endswith("_loss"):  # of tensors, in training
                continue
            for argument in inspect.signature(getattr(module, name)).parameters:
                right = FINE.get(f"{package}.{name}", {}).get(argument, [])
                for value in WRONG.get(argument, []):
                    if not any(value is each or value == each for each in right):
                        yield f"{package}.{name}", argument, value


def digest(value):
    """A hash of all that is in an AnnData, or in what is given beside it."""
    if isinstance(value, dict):
        return {str(key): digest(value[key]) for key in value}
    if isinstance(value, list | tuple):
        return [digest(each) for each in value]
    if hasattr(value, "obsm"):
        slots = ("obs", "var", "obsm", "varm", "obsp", "varp", "layers", "uns")
        return [digest(value.X), *(digest(dict(getattr(value, slot))) for slot in slots), list(value.obs_names)]
    if sparse.issparse(value):
        return [digest(getattr(value, part)) for part in ("data", "indices", "indptr")]
    if isinstance(value, np.ndarray | pd.Series | pd.Index | pd.DataFrame):
        array = np.ascontiguousarray(value)
        plain = array.dtype == object or not array.size
        return hashlib.sha256(repr(array.tolist()).encode() if plain else array.ravel().view(np.uint8)).hexdigest()
    return repr(value) if isinstance(value, str | int | float | bool | type(None)) else type(value).__name__


RAISED = (ValueError, TypeError, KeyError, IndexError, OSError, ImportError)
REMEDY = re.compile(
    r"must|[Pp]ass|[Rr]un |Leave|has:|have:|Export|it has|were given|Take|Drop|Give|Choose|needs|Install|at least|one of|known",
    re.ASCII,
)


def digest_of(given):
    return digest({name: each for name, each in given.items() if hasattr(each, "obsm")})


def complaint(function, given, before, argument, value):
    """What is wrong with how a wrong call is answered; None where nothing is. ``before`` is the digest of ``given``."""
    try:
        result = function(**{**given, argument: value})
        if inspect.isgenerator(result):
            list(result)
    except RAISED as error:
        message = str(error.args[0]) if error.args else ""
        frames = inspect.getinnerframes(error.__traceback__)
        if "bleep_sc" not in frames[-1].filename.replace("tests", ""):
            return f"raised by {Path(frames[-1].filename).name}: {type(error).__name__}: {message[:80]}"
        parts = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
        shown = [
            repr(value)[:60],
            *([value] if isinstance(value, str) and value else []),
            *map(repr, parts[:1]),
            *(["none", "empty"] if value in ({}, []) else []),
        ]
        if not any(each in message for each in shown):
            return f"no value in: {message[:110]}"
        if argument not in message:
            return f"no name in: {message[:110]}"
        if not REMEDY.search(message):
            return f"no remedy in: {message[:110]}"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is not what is promised
        return f"raised {type(error).__name__}: {str(error)[:80]}"
    else:
        return "was accepted"
    return None if digest_of(given) == before else "changed the AnnData"


CALLS_BY_FUNCTION = {}
for _name, _argument, _value in wrong_calls():
    CALLS_BY_FUNCTION.setdefault(_name, []).append((_argument, _value))


@pytest.mark.parametrize("name", CALLS_BY_FUNCTION)
def test_wrong_calls_are_refused_with_argument_value_and_remedy(calls, name):
    given = calls[name]
    before = digest_of(given)
    found = {
        f"{argument}={value!r}": complaint(function_of(name), given, before, argument, value)
        for argument, value in CALLS_BY_FUNCTION[name]
    }
    assert {call: what for call, what in found.items() if what} == {}


UNTYPED = {
    *("metrics.rubin", "metrics.cluster_agreement", "metrics.correlation_agreement", "models.list_encoders"),
    "datasets.references",  # takes nothing
}


def test_every_public_function_is_called_wrongly():
    public = {
        f"{package}.{name}"
        for package in ("io", "pp", "tl", "pl", "bm", "datasets", "slides", "models", "metrics")
        for name in getattr(bs, package).__all__
        if inspect.isfunction(getattr(getattr(bs, package), name)) and not name.endswith("_loss")
    }
    assert public - set(CALLS_BY_FUNCTION) == set(UNTYPED)
    assert sum(map(len, CALLS_BY_FUNCTION.values())) > 1000


COMMANDS = {
    "benchmark": {
        "--data": ["none-such", "none.h5ad"],
        "--methods": ["magic"],
        "--group-key": ["none-such"],
        "--donor-key": ["none-such"],
        "--n-top-genes": ["0", "-1", "many", "1.5"],
        "--seeds": ["0", "-1", "many"],
    },
    "demo": {"--data": ["none-such"], "--seed": ["many", "1.5"]},
    "embed": {"--ref": ["none.h5ad"], "--key": ["none-such"]},
    "features": {
        "--encoder": ["none-such"],
        "--weights": ["none.bin"],
        "--read": ["none.h5"],
        "--patches-key": ["none-such"],
        "--batch-size": ["0", "-1", "many"],
        "--num-workers": ["-1", "many"],
    },
    "fit": {
        "--set": ["max_epochs", "none_such=3", "max_epochs=many"],
        "--use-rep": ["none-such"],
        "--layer": ["none-such"],
        "--target-rep": ["none-such"],
        "--library-key": ["none-such"],
        "--seed": ["many", "1.5"],
        "--num-workers": ["-1", "many"],
    },
    "impute": {
        "--ref": ["none.h5ad"],
        "--sheet": ["none.csv"],
        "--index": ["none-such"],
        "--genes": ["none-such"],
        "--draw": ["none-such"],
        "--key": ["none-such"],
        "--region": ["none.geojson"],
        "--spacing": ["many", "0", "-1", "nan"],
        "--min-tissue": ["many", "-1", "2", "nan"],
        "--mpp": ["many", "0", "-1", "nan"],
    },
    "page": {
        "--ref": ["none.h5ad"],
        "--genes": ["none-such"],
        "--layer": ["none-such"],
        "--key": ["none-such"],
        "--library-id": ["none-such"],
    },
    "tile": {
        "--ref": ["none.h5ad"],
        "--centers": ["none.h5"],
        "--region": ["none.geojson"],
        "--spacing": ["many", "0", "-1", "nan"],
        "--min-tissue": ["many", "-1", "2", "nan"],
        "--mpp": ["many", "0", "-1", "nan"],
    },
    "prepare": {
        "--image": ["none.tif", "none=none.tif"],
        "--donor": ["none", "none-such=P1"],
        "--sheet": ["none.csv"],
        "--bin": ["many", "0", "-1", "nan"],
        "--spot-um": ["many", "0", "-1", "nan"],
        "--mpp": ["many", "0", "-1", "nan"],
        "--pitch": ["many", "0", "-1", "nan"],
        "--min-counts": ["many", "-1"],
        "--min-spots": ["many", "-1"],
        "--n-top-genes": ["0", "-1", "many", "1.5"],
        "--size-um": ["many", "0", "-1", "nan"],
        "--encoder": ["none-such"],
    },
}


@pytest.fixture(scope="module")
def files(world):
    from PIL import Image

    for name, adata in (("ref", world.ref), ("query", world.query), ("counts", world.counts)):
        adata.write_h5ad(world.folder / f"{name}.h5ad")
    Image.fromarray(world.image).save(world.folder / "slide.png")
    return world.folder


def command(files, name):
    """Arguments of a valid call."""
    out = ["--out", files / "new"]
    return {
        "benchmark": ["--data", files / "counts.h5ad", "--encoder", "none", "--methods", "mean", *out],
        "demo": out,
        "embed": [files / "query.h5ad", "--ref", files / "ref.h5ad", *out],
        "features": [files / "query.h5ad", "--out", files / "new.h5ad"],
        "fit": [files / "ref.h5ad", "--use-rep", "X_stain_stats", "--out", files / "new.h5ad"],
        "impute": [files / "slide.png", "--ref", files / "ref.h5ad", "--mpp", 2, "--out", files / "new.zarr"],
        "prepare": [files / "slide.h5ad", "--encoder", "none", "--n-top-genes", 20, "--out", files / "new.h5ad"],
        "page": [files / "query.h5ad", "--ref", files / "ref.h5ad", "--out", files / "new.html"],
        "tile": [files / "slide.png", "--mpp", 2, "--out", files / "new.h5ad"],
    }[name]


@pytest.mark.parametrize("name", COMMANDS)
def test_wrong_options_are_refused_with_option_and_value_and_write_nothing(files, name):
    before = {path: path.stat().st_mtime_ns for path in files.rglob("*")}
    found = {}
    for option, values in COMMANDS[name].items():
        for value in values:
            result = CliRunner().invoke(cli.main, [*map(str, [name, *command(files, name)]), option, value])
            said = result.output
            named = option in said or option.strip("-").replace("-", "_") in said
            if result.exit_code == 0 or not named or value.split("=")[0] not in said or "Traceback" in said:
                found[f"{option} {value}"] = said[-300:]
    assert found == {}
    assert {path: path.stat().st_mtime_ns for path in files.rglob("*")} == before
