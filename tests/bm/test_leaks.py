"""Features that hold expression are refused or named, however they are called; those of images are not."""

import warnings

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from scipy.spatial import cKDTree
from sklearn.cluster import KMeans
from sklearn.cross_decomposition import CCA
from sklearn.decomposition import NMF, TruncatedSVD

import bleep_sc as bs
from bleep_sc._arrays.around import average_around
from bleep_sc.bm import _guards, _leaks

REP = "X_stain_stats"


@pytest.fixture(scope="module")
def tissue(_toy):
    counts = _toy.layers["counts"]
    slides, centers = _toy.obs["library_id"].astype(str).to_numpy(), _toy.obsm["spatial"]
    return _toy, _leaks.Tissue.of(counts, slides, centers)


def verdict(features, tissue):
    """What is said of features: "refused", "named" or nothing."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            _guards._judge("use_rep='X'", _leaks.told_by(features, tissue))
        except ValueError as error:
            return "refused" if "so it was computed from expression" in str(error) else str(error)
    assert all("it may have been computed from expression" in str(each.message) for each in said)
    return "named" if said else ""


def logs(adata):
    return np.asarray(adata.X.todense())


def components(adata, n=20):
    values = logs(adata)
    left, size, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    return left[:, :n] * size[:n]


def each_slide(adata, function):
    result = [function(adata[adata.obs["library_id"] == name]) for name in ("slice1", "slice2", "slice3")]
    return np.concatenate(result)  # the slides of toy tissue stand one after another


def averaged(adata, number, first=0):
    def around(part):
        near = cKDTree(part.obsm["spatial"]).query(part.obsm["spatial"], k=number)[1][:, first:]
        return components(adata)[adata.obs_names.get_indexer(part.obs_names)][near].mean(axis=1)

    return each_slide(adata, around)


def embedded(adata, kind):
    sample = ad.AnnData(components(adata))
    sc.pp.neighbors(sample, use_rep="X", random_state=0)
    if kind == "X_umap":
        sc.tl.umap(sample, random_state=0, maxiter=200)
    else:
        sc.tl.diffmap(sample, n_comps=8)
    return sample.obsm[kind][:, -7:]


def clusters(adata, number):
    found = KMeans(number, n_init=3, random_state=0).fit(components(adata))
    return found.labels_, found.transform(components(adata))


def standardised(values):
    return (values - values.mean(axis=0)) / values.std(axis=0)


def depth(adata):
    return np.log(np.asarray(adata.layers["counts"].sum(axis=1)))


def joint(adata):
    images = standardised(adata.obsm[REP])[:, :12]
    return sum(CCA(4, max_iter=100).fit_transform(images, components(adata, 8))) / 2


def random(adata, *shape):
    return np.random.default_rng(0).normal(size=(*shape,))


LEAKS = {
    "50 components": lambda a: components(a, 50),
    "3 components": lambda a: components(a, 3),
    "components of one variance each": lambda a: standardised(components(a, 20)),
    "components, turned": lambda a: components(a, 20) @ np.linalg.qr(random(a, 20, 20))[0],
    "components slide by slide": lambda a: each_slide(a, lambda part: components(part, 10)),
    "components and noise": lambda a: components(a, 5) + 0.2 * random(a, a.n_obs, 5) * components(a, 5).std(axis=0),
    "signs of components": lambda a: np.tanh(components(a, 10)),
    "ranks of components": lambda a: components(a, 5).argsort(axis=0).argsort(axis=0),
    "lsi": lambda a: TruncatedSVD(15, random_state=0).fit_transform(a.layers["counts"].log1p()),
    "nmf": lambda a: NMF(8, init="nndsvda", max_iter=400, tol=1e-2, random_state=0).fit_transform(logs(a)),
    "a gene": lambda a: logs(a)[:, [3]],
    "100 genes": lambda a: logs(a)[:, :100],
    "score of 20 genes": lambda a: logs(a)[:, :20].mean(axis=1, keepdims=True),
    "depth": depth,
    "number of genes": lambda a: np.asarray((a.layers["counts"] > 0).sum(axis=1)),
    "depth and noise": lambda a: depth(a) + 0.1 * random(a, a.n_obs, 1),
    "umap": lambda a: embedded(a, "X_umap"),
    "diffusion map": lambda a: embedded(a, "X_diffmap"),
    "clusters": lambda a: np.eye(8)[clusters(a, 8)[0]],
    "numbers of clusters": lambda a: clusters(a, 8)[0][:, None],
    "distances to clusters": lambda a: np.exp(-0.02 * clusters(a, 6)[1] ** 2),
    "a layer of a network": lambda a: np.maximum(components(a, 20) @ random(a, 20, 30) / 4, 0),
    "components beside features of images": lambda a: np.hstack(
        [standardised(a.obsm[REP]), standardised(components(a, 8))]
    ),
    "depth beside features of images": lambda a: np.hstack([standardised(a.obsm[REP]), standardised(depth(a))]),
    "joint embedding": joint,
    "of the spot and six around it": lambda a: averaged(a, 7),
    "of six around it alone": lambda a: averaged(a, 7, first=1),
}

NAMED = ["score of 20 genes", "distances to clusters", "of the spot and six around it", "of six around it alone"]
"""On tissue that is painted by what is expressed, features of images come near to these."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "umap" else ()) for name in LEAKS]
)
def test_features_that_hold_expression_are_refused_or_named(tissue, name):
    adata, spots = tissue
    assert verdict(LEAKS[name](adata), spots) == ("named" if name in NAMED else "refused")


def context(adata, radius):
    return each_slide(adata, lambda part: average_around(part.obsm[REP], part.obsm["spatial"], radius))


HONEST = {
    "stains": lambda a: a.obsm[REP],
    "a few": lambda a: a.obsm[REP][:, :3],
    "squares": lambda a: np.hstack([a.obsm[REP], a.obsm[REP] ** 2]),
    "surroundings": lambda a: context(a, 400.0),
    "places": lambda a: a.obsm["spatial"],
    "waves of places": lambda a: np.sin(a.obsm["spatial"] / [[200.0, 300.0]]),
    "clusters of stains": lambda a: np.eye(6)[KMeans(6, n_init=1, random_state=0).fit(a.obsm[REP]).labels_],
    "noise": lambda a: random(a, a.n_obs, 20),
    "nothing": lambda a: np.ones((a.n_obs, 4)),
}


@pytest.mark.parametrize("name", HONEST)
def test_features_of_images_and_places_are_neither(tissue, name):
    adata, spots = tissue
    assert verdict(HONEST[name](adata), spots) == ""


@pytest.mark.parametrize("data", [pytest.param("her2st", marks=pytest.mark.slow), "mob"])
def test_features_of_real_images_are_neither_and_components_are_refused(data, data_folder):
    adata = bs.datasets.her2st(["C2", "C3"]) if data == "her2st" else bs.datasets.mob(["MOB1", "MOB2"])
    sc.pp.filter_cells(adata, min_counts=100)
    size_um = 154 if data == "her2st" else 280
    bs.pp.extract_patches(adata, size=32, size_um=size_um)
    bs.pp.image_features(adata, "stain_stats", show_progress_bar=False)
    bs.pp.spatial_context(adata, REP, radius_um=300)
    spots = _leaks.Tissue.of(adata.X, adata.obs["library_id"].astype(str).to_numpy(), adata.obsm["spatial"])
    assert verdict(adata.obsm[REP], spots) == ""
    assert verdict(adata.obsm[f"{REP}_context"], spots) == ""
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    sc.pp.pca(adata, n_comps=30)
    assert verdict(adata.obsm["X_pca"], spots) == "refused"


def test_a_share_is_that_of_what_varies_within_patches(tissue):
    """Half of the variance of the depth is known; three errors are taken off."""
    adata, spots = tissue
    values = _leaks._centred(np.log(np.asarray(adata.layers["counts"].sum(axis=1)))[spots.rows], spots.patches)
    noise = _leaks._centred(np.random.default_rng(1).normal(size=values.shape), spots.patches)
    features = np.zeros((adata.n_obs, 1))
    features[spots.rows] = values + noise * values.std() / noise.std()
    told = _leaks.told_by(features, spots)
    assert 0.3 < told.expression < 0.5
    assert told.surroundings < 0.1


def test_patches_are_of_neighbours_of_one_slide(tissue):
    adata, spots = tissue
    slides = adata.obs["library_id"].to_numpy()[spots.rows]
    for patch in np.unique(spots.patches):
        inside = spots.patches == patch
        assert len(set(slides[inside])) == 1
        assert 5 <= inside.sum() <= _leaks.PATCH
        assert np.ptp(adata.obsm["spatial"][spots.rows[inside]], axis=0).max() < 700


NAMES = [
    "X_pca",
    "X_PCA",
    "x_pca",
    "pca",
    "X_pca_context",
    "X_pca_2",
    "X_scvi",
    "X_scVI",
    "X_scANVI",
    "X_lsi",
    "X_umap",
]
NAMES += ["X_UMAP3d", "X_tsne", "X_diffmap", "X_draw_graph_fa", "X_mde", "X_harmony", "X_pca_harmony", "X_Harmony_2"]
NAMES += [
    "X_stagate",
    "GraphST",
    "X_totalVI",
    "X_scanorama",
    "X_nmf",
    "X_counts",
    "q05_cell_abundance_w_sf",
    "X_bleep_image",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_what_is_computed_from_expression(toy, name):
    toy.X = toy.layers["counts"].copy()
    toy.obsm[name] = np.random.default_rng(0).normal(size=(toy.n_obs, 4))
    with pytest.raises(ValueError, match=rf"use_rep='{name}' was computed from the expression of all spots"):
        bs.bm.cross_validate(toy, bs.bm.methods(["mean"]), group_key="library_id", use_rep=name)


def test_surroundings_of_components_are_followed_to_them(toy):
    toy.X = toy.layers["counts"].copy()
    toy.obsm["X_pca"] = components(toy)
    bs.pp.spatial_context(toy, "X_pca", radius_um=200, key_added="X_mine")
    bs.pp.spatial_context(toy, "X_mine", radius_um=200, key_added="X_wider")
    with pytest.raises(ValueError, match=r"use_rep='X_wider' was made of obsm\['X_pca'\], which was computed from"):
        bs.bm.cross_validate(toy, bs.bm.methods(["mean"]), group_key="library_id", use_rep="X_wider")


def test_components_under_the_name_and_record_of_features_of_images_are_refused(toy):
    toy.X = toy.layers["counts"].copy()
    toy.obsm[REP] = components(toy)
    with pytest.raises(ValueError, match=r"use_rep='X_stain_stats' tells \d+% of how the expression of its own spots"):
        bs.bm.cross_validate(toy, bs.bm.methods(["mean"]), group_key="library_id", use_rep=REP)


def test_rows_of_the_array_that_hold_expression_are_refused(toy):
    toy.X = toy.layers["counts"].copy()
    toy.obs["array_row"] = depth(toy).ravel()
    with pytest.raises(ValueError, match=r"obs\['array_row', 'array_col'\] tells"):
        bs.bm.cross_validate(toy, bs.bm.methods(["mean"]), group_key="library_id", use_rep=REP)
