"""Models from elsewhere in a comparison: what they are given, how genes and units are matched, and what marks them."""

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from torch import nn

import bleep_sc as bs
from bleep_sc.bm import _exhibits
from bleep_sc.bm._folds import split
from bleep_sc.bm._gene_names import match_names
from bleep_sc.bm._measures import of_slides
from bleep_sc.bm._sentences import verdicts

REP = "X_stain_stats"
HOW = {"group_key": "library_id", "n_top_genes": 8}


@pytest.fixture(scope="module")
def _counts():
    adata = bs.datasets.toy(n_slices=2)
    bs.pp.extract_patches(adata, size=24, size_um=112)
    bs.pp.image_features(adata, "stain_stats", show_progress_bar=False)
    return adata


@pytest.fixture
def counts(_counts):
    return _counts.copy()


@pytest.fixture
def fold(counts):
    how = {"use_rep": [REP], "patches_key": "patches", "layer": None, "library_key": "library_id"}
    return split(counts, "library_id", **how, n_top_genes=8).fold("slice2")


def reds(patches):
    """How red a patch is, and half of it, as two genes."""
    assert patches.dtype == np.uint8
    red = patches[..., 0].mean(axis=(1, 2)) / 255
    return pd.DataFrame({"one": red, "two": red / 2})


class Linear(nn.Module):
    """Mean colours to three genes."""

    def __init__(self):
        super().__init__()
        self.pretrained_cfg = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
        self.weight = nn.Parameter(torch.arange(9.0).reshape(3, 3) / 9)

    def forward(self, images):
        return images.mean(dim=(2, 3)) @ self.weight


class Tiles:
    """A predictor of tiles as LazySlide calls it: a batch behind its transform, an array a gene."""

    columns = ("ALB", "HAL")

    def __init__(self):
        self.shapes = []

    def get_transform(self):
        return lambda patch: torch.from_numpy(patch).permute(2, 0, 1).float() / 255

    def predict(self, image):
        self.shapes.append(tuple(image.shape))
        return {name: image[:, i].mean(dim=(1, 2)).numpy() for i, name in enumerate(self.columns)}


class WholeSlides:
    """A predictor of features that sees all tiles of a slide, and where they are."""

    needs_coords = whole_slide = True
    features_model_name = "stain_stats"

    def __init__(self):
        self.seen = []

    def predict(self, features, coords):
        self.seen.append((len(features), len(coords)))
        return {"ALB": features[:, 0] - features[:, 0].mean(), "HAL": coords[:, :1]}


def red(patches):
    return patches[..., 0].mean(axis=(1, 2)) / 255


def test_a_function_of_patches_is_asked_once_a_fold_and_unknown_genes_are_nan(counts, fold):
    name = fold.panel[3]
    sizes = []

    def model(patches):
        sizes.append(len(patches))
        return reds(patches).rename(columns={"one": name})

    result = bs.bm.external(model, batch_size=100)(fold.train, fold.query)
    assert sizes == [100] * (fold.query.n_obs // 100) + [fold.query.n_obs % 100]
    np.testing.assert_allclose(result[:, 3], red(fold.query.obsm["patches"]), rtol=1e-6)
    assert np.isnan(np.delete(result, 3, axis=1)).all()
    sizes.clear()
    table = bs.bm.cross_validate(counts, {"theirs": bs.bm.external(model, batch_size=None)}, n_seeds=3, **HOW)
    assert len(sizes) == 2  # once a fold
    assert table["seed"].unique().tolist() == [0]


def test_arrays_and_torch_modules_are_named_by_genes(fold):
    genes = [fold.panel[2], "ELSEWHERE", fold.panel[0]]
    module = Linear()
    patches = fold.query.obsm["patches"]
    colours = patches.mean(axis=(1, 2)) / 255
    expected = colours @ module.weight.detach().numpy()
    for model in (module, lambda patches: (patches.mean(axis=(1, 2)) / 255) @ module.weight.detach().numpy()):
        result = bs.bm.external(model, genes=genes)(fold.train, fold.query)
        np.testing.assert_allclose(result[:, [2, 0]], expected[:, [0, 2]], atol=1e-5)
        assert np.isfinite(result).all(axis=0).sum() == 2
    head = nn.Linear(fold.query.obsm[REP].shape[1], 3)
    result = bs.bm.external(head, genes=genes, use_rep=REP)(fold.train, fold.query)
    expected = head(torch.from_numpy(fold.query.obsm[REP])).detach().numpy()
    np.testing.assert_allclose(result[:, [2, 0]], expected[:, [0, 2]], atol=1e-4)


def test_predictors_of_lazyslide_get_what_lazyslide_gives_them(counts, fold):
    tiles, slides = Tiles(), WholeSlides()
    for side in (fold.train, fold.query):
        assert {"ALB", "HAL"} <= set(side.var_names)
    fold.train.var["highly_variable"] = fold.train.var_names.isin(["ALB", "HAL"])
    alb, hal = fold.panel.index("ALB"), fold.panel.index("HAL")
    result = bs.bm.external(tiles)(fold.train, fold.query)
    assert tiles.shapes[0] == (64, 3, 24, 24)
    colours = fold.query.obsm["patches"].mean(axis=(1, 2)) / 255
    np.testing.assert_allclose(result[:, [alb, hal]], colours[:, :2], atol=1e-5)
    result = bs.bm.external(slides, use_rep=REP)(fold.train, fold.query)
    assert slides.seen == [(fold.query.n_obs, fold.query.n_obs)]
    np.testing.assert_allclose(result[:, hal], fold.query.obsm["spatial"][:, 0], rtol=1e-6)


def test_predictions_are_found_by_the_names_of_spots(fold, tmp_path):
    random = np.random.default_rng(0)
    names = random.permutation(fold.query.obs_names)
    frame = pd.DataFrame(random.random((len(names), 8)), index=names, columns=fold.panel)
    expected = frame.loc[fold.query.obs_names].to_numpy()
    adata = ad.AnnData(sparse.csr_matrix(frame.to_numpy()), obs=frame[[]], var=frame.T[[]])
    adata.write_h5ad(tmp_path / "theirs.h5ad")
    for model in (frame, adata, tmp_path / "theirs.h5ad", str(tmp_path / "theirs.h5ad")):
        np.testing.assert_allclose(bs.bm.external(model)(fold.train, fold.query), expected, rtol=1e-6)
    with pytest.raises(KeyError, match=rf"predictions lack 1 of {fold.query.n_obs} spots, such as '{names[0]}'"):
        bs.bm.external(frame.iloc[1:])(fold.train, fold.query)
    with pytest.raises(ValueError, match="name spots several times"):
        bs.bm.external(frame.iloc[[0, 0]])


def test_units_are_carried_to_those_of_the_comparison(fold):
    """Rates that are known, in all units; the total of counts is over all genes of the model."""
    random = np.random.default_rng(0)
    genes = [*fold.panel, *(f"OTHER{i}" for i in range(30))]
    rates = random.gamma(1.0, size=(fold.query.n_obs, len(genes)))
    rates *= 1e4 / rates.sum(axis=1, keepdims=True)
    truth = np.log1p(rates[:, :8])
    given = {
        ("log1p", 1e4): np.log1p(rates),
        ("log1p", 1e6): np.log1p(100 * rates),
        ("log2(1+x)", 1e4): np.log2(1 + rates),
        ("log10(1+x)", 100.0): np.log10(1 + rates / 100),
        ("counts", 1e4): rates * random.random((len(rates), 1)),
    }
    for (units, total), values in given.items():
        frame = pd.DataFrame(values, index=fold.query.obs_names, columns=genes)
        result = bs.bm.external(frame, units=units, target_sum=total)(fold.train, fold.query)
        np.testing.assert_allclose(result, truth, rtol=2e-5, err_msg=units)
    scores = pd.DataFrame(random.normal(size=(len(rates), 8)), index=fold.query.obs_names, columns=fold.panel)
    result = bs.bm.external(scores, units="standardised")(fold.train, fold.query)
    known = fold.train[:, fold.panel].X.toarray()
    np.testing.assert_allclose((result - known.mean(axis=0)) / known.std(axis=0), scores, atol=1e-4)


def test_a_gene_that_is_not_predicted_changes_no_other(fold):
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.gamma(1.0, size=(fold.query.n_obs, 9)), index=fold.query.obs_names)
    frame.columns = [*fold.panel, "OTHER"]
    alone = bs.bm.external(frame.drop(columns="OTHER"), units="counts")(fold.train, fold.query)
    frame["OTHER"] = np.nan
    np.testing.assert_array_equal(bs.bm.external(frame, units="counts")(fold.train, fold.query), alone)
    frame.loc[frame.index[3:], "OTHER"] = 1.0
    with pytest.raises(ValueError, match=r"predicts 1 genes for some spots alone, such as 'OTHER'"):
        bs.bm.external(frame, units="counts")(fold.train, fold.query)
    frame["OTHER"], frame.iloc[2] = 1.0, 0.0
    with pytest.raises(ValueError, match="predicts no counts for 1 of"):
        bs.bm.external(frame, units="counts")(fold.train, fold.query)


def test_names_of_genes_are_matched():
    names = ["ALB", "Hal", "ENSG00000000003.15", "cd8", "CD8"]
    wanted = ["ALB", "HAL", "ENSG00000000003", "Cd8", "none"]
    assert match_names(wanted, names).tolist() == [0, 1, 2, -1, -1]  # Cd8 might be either
    assert match_names(["cd8", "CD8"], names).tolist() == [3, 4]
    with pytest.raises(ValueError, match="names genes several times: 'A'"):
        match_names(["A"], ["A", "B", "A"])


def test_genes_go_by_other_names(fold):
    ids = pd.Series([f"ENSG{i:011d}" for i in range(fold.train.n_vars)], index=fold.train.var_names)
    frame = pd.DataFrame(1.0, index=fold.query.obs_names, columns=[f"{ids[fold.panel[1]]}.3"])
    result = bs.bm.external(frame, gene_ids=ids)(fold.train, fold.query)
    assert np.isfinite(result).all(axis=0).tolist() == [i == 1 for i in range(8)]
    with pytest.raises(ValueError, match=r"none of the 8 genes of the comparison: it has 'ENSG.*Pass gene_ids="):
        bs.bm.external(frame)(fold.train, fold.query)
    frame.columns = [fold.panel[1]]
    ids[fold.panel[1]] = np.nan  # of a gene that another table lacked
    assert np.isfinite(bs.bm.external(frame, gene_ids=ids)(fold.train, fold.query)[:, 1]).all()


def test_numbers_of_it_are_marked_wherever_they_stand(counts, caplog):
    genes = bs.bm.cross_validate(counts, "mean", **HOW)["gene"].unique()[:3].tolist()
    truth = counts.to_df()[genes]
    methods = bs.bm.methods(["ridge"], use_rep=REP, external={"theirs": bs.bm.external(truth, units="counts")})
    with caplog.at_level(logging.WARNING):
        table = bs.bm.cross_validate(counts, methods, use_rep=REP, **HOW)
    assert "'theirs': trained elsewhere: nobody can check that it has not seen these slides." in caplog.text
    assert table.groupby("method")["trained_elsewhere"].unique().map(list).to_dict() == {
        "ridge": [False],
        "theirs": [True],
        "permuted": [False],
    }
    summary = bs.bm.summarise(table)
    everywhere = summary[summary["gene_set"] == "all"].set_index("method")
    assert 1 <= everywhere.loc["theirs", "n_predicted"] <= 3 < everywhere.loc["ridge", "n_predicted"]
    assert everywhere.loc["theirs", "n_genes"] == everywhere.loc["ridge", "n_genes"]
    assert everywhere["trained_elsewhere"].to_dict() == {name: name == "theirs" for name in everywhere.index}
    assert "theirs* &" in bs.bm.to_latex(summary)
    assert "ridge &" in bs.bm.to_latex(summary)
    labels = [each.get_text() for each in bs.pl.benchmark(summary).ravel()[0].get_yticklabels()]
    assert "theirs*" in labels
    assert "ridge" in labels
    paper = bs.bm.paper_table(table)
    assert "theirs* &" in bs.bm.to_latex(paper)
    values = of_slides(table, None)
    shown = _exhibits.exhibits_of({"paper_table": paper, "slides": values, "sentences": verdicts(values)})
    main = _exhibits.MAIN
    page = _exhibits.in_markdown({name: {main: of[main]} for name, of in shown.items()})
    assert r"| theirs\* |" in page
    assert r"\* Trained elsewhere: nobody can check that it has not seen these slides." in page
    own = {name: {main: of[main][of[main]["method"] != "theirs*"]} for name, of in shown.items()}
    assert "Trained elsewhere" not in _exhibits.in_markdown(own)


def test_runs_are_kept_and_other_weights_are_refused(counts, tmp_path):
    genes = bs.bm.cross_validate(counts, "mean", **HOW)["gene"].unique()[:3].tolist()
    how = {**HOW, "path": tmp_path / "runs"}
    module = Linear()
    first = bs.bm.cross_validate(counts, {"theirs": bs.bm.external(module, genes=genes)}, **how)
    again = bs.bm.cross_validate(counts, {"theirs": bs.bm.external(Linear(), genes=genes)}, **how)
    pd.testing.assert_frame_equal(first, again)  # seconds included: nothing ran
    with torch.no_grad():
        module.weight.add_(1)
    with pytest.raises(ValueError, match="holds a run of 'theirs' with other arguments"):
        bs.bm.cross_validate(counts, {"theirs": bs.bm.external(module, genes=genes)}, **how)


def test_what_cannot_work_is_refused(counts, fold):
    run = lambda *args, **how: bs.bm.external(*args, **how)(fold.train, fold.query)  # noqa: E731
    with pytest.raises(ValueError, match=r"units='tpm' is not known\. Pass 'log1p'"):
        bs.bm.external(reds, units="tpm")
    with pytest.raises(TypeError, match="model=3 is an int, which can be neither called nor asked to predict"):
        bs.bm.external(3)
    with pytest.raises(ValueError, match=r"shape \(64, 3\), whose columns have no names\. Pass genes="):
        run(lambda patches: np.zeros((len(patches), 3)))
    with pytest.raises(ValueError, match=r"shape \(64, 3\) for 64 spots, and genes= names 1"):
        run(lambda patches: np.zeros((len(patches), 3)), genes=["A"])
    with pytest.raises(ValueError, match="returned 1 rows for 64 spots"):
        run(lambda patches: pd.DataFrame({"A": [0.0]}))
    with pytest.raises(ValueError, match="genes= names columns that have no names"):
        run(reds, genes=["A"])
    with pytest.raises(ValueError, match=r"shows 112 µm of tissue, and the model was trained on size_um=224"):
        run(reds, size_um=224)
    with pytest.raises(KeyError, match=r"obsm\['X_none'\] not found .*use_rep= to bleep_sc.bm.cross_validate"):
        run(reds, use_rep="X_none")
    with pytest.raises(ValueError, match="external= has 'ridge', which is a method of the package"):
        bs.bm.methods(["mean"], external={"ridge": reds})
    sizes = iter(range(10))
    with pytest.raises(ValueError, match="named other genes for one batch than for another"):
        run(lambda patches: pd.DataFrame({fold.panel[0]: red(patches), f"x{next(sizes)}": 0.0}))
