"""Figures of an evaluation."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import EllipseCollection

import bleep_sc as bs
from bleep_sc.pl._leiden import matched_palettes
from bleep_sc.pl._slide import round_length


@pytest.fixture
def predicted(fitted, query):
    bs.tl.impute(query, ref=fitted)
    return query


def test_gene_correlations_stand_in_the_order_of_the_measured_ones(predicted):
    bs.tl.gene_correlation(predicted)
    axes = bs.pl.gene_correlation(predicted)
    measured, ours = (ax.get_images()[0].get_array() for ax in axes)
    assert measured.shape == ours.shape == (50, 50)
    np.testing.assert_allclose(np.diag(measured), 1, rtol=1e-5)
    neighbours = np.abs(np.diag(measured, 1)).mean()
    assert neighbours > 1.5 * np.abs(measured[np.triu_indices(50, 2)]).mean()
    genes = predicted.uns["bleep_gene_correlation"]["genes"]
    truth = np.corrcoef(predicted[:, genes].X.toarray().T)
    np.testing.assert_allclose(np.sort(measured.ravel()), np.sort(truth.ravel()), atol=1e-4)
    with pytest.raises(
        KeyError, match=r"varp\['stnet_correlation'\] not found .*tl.gene_correlation\(adata, 'stnet'\)"
    ):
        bs.pl.gene_correlation(predicted, [None, "stnet"])


def test_a_predicted_cluster_has_the_colour_of_its_counterpart():
    measured = np.array(list("000111222"), dtype=object)
    predicted = np.array(list("222000113"), dtype=object)
    first, second = matched_palettes(measured, predicted)
    assert second["2"] == first["0"]
    assert second["0"] == first["1"]
    assert second["1"] == first["2"]
    assert second["3"] not in first.values()


def test_clusters_are_drawn_on_the_tissue_with_a_region_outlined(predicted):
    bs.tl.leiden(predicted, resolutions=[1.0])
    axes = bs.pl.leiden(predicted, mark="low_quality")
    (spots,) = [child for child in axes[0].collections if isinstance(child, EllipseCollection)]
    assert (np.asarray(spots.get_linewidths()) > 0).sum() == predicted.obs["low_quality"].sum()
    assert [ax.get_title() for ax in axes] == ["measured expression, Leiden", "bleep, Leiden"]
    with pytest.raises(KeyError, match=r"obs\['stnet_leiden'\] not found .*tl.leiden\(adata, 'stnet'\)"):
        bs.pl.leiden(predicted, "stnet")


def test_a_cluster_has_one_colour_on_all_slides(toy):
    second, third = toy.obs["library_id"] == "slice2", toy.obs["library_id"] == "slice3"
    toy.obs["measured_leiden"] = toy.obs["bleep_leiden"] = np.select([second, third], ["1", "2"], "0")
    faces = []
    for name in ("slice2", "slice3"):
        axes = bs.pl.leiden(toy, library_id=name)
        drawn = [child for ax in axes for child in ax.collections if isinstance(child, EllipseCollection)]
        assert np.array_equal(drawn[0].get_facecolors(), drawn[1].get_facecolors())
        faces.append(drawn[0].get_facecolors()[0].tolist())
    assert faces[0] != faces[1]


def test_the_umap_shows_predictions_among_the_reference(fitted, predicted):
    bs.tl.joint_umap(predicted, fitted)
    ax = bs.pl.umap(predicted)
    drawn = [len(child.get_offsets()) for child in ax.collections]
    assert sum(drawn[:-1]) == fitted.n_obs
    assert drawn[-1] == predicted.n_obs
    with pytest.raises(KeyError, match=r"tl.joint_umap"):
        bs.pl.umap(predicted, "stnet")


def test_mean_and_variance_are_those_of_the_genes(predicted):
    predicted.layers["constant"] = np.ones(predicted.shape, dtype=np.float32)
    axes = bs.pl.mean_variance(predicted, ["bleep", "constant"])
    labels = [line.get_label() for line in axes[1].lines]
    assert labels == ["measured", "bleep", "constant"]
    measured, ours, constant = (line.get_ydata() for line in axes[1].lines)
    assert np.all(np.diff(measured) <= 1e-9)
    assert np.nanmedian(ours / measured) < 1
    assert np.isnan(constant).all()
    np.testing.assert_allclose(axes[0].lines[2].get_ydata(), 1)


@pytest.fixture
def table():
    random = np.random.default_rng(0)
    rows = [
        {
            "method": method,
            "gene": f"G{gene}",
            "seed": seed,
            "library": library,
            "pearson": level * gene + random.normal(0, 0.01),
        }
        for method, level in (("mine", 0.05), ("other", 0.02))
        for gene in range(10)
        for seed in range(2)
        for library in "ab"
    ]
    return pd.DataFrame(rows)


def test_the_best_genes_of_every_method(table):
    ax = bs.pl.top_genes(table, n_genes=3)
    texts = [text.get_text().split("\n")[0] for text in ax.texts]
    assert texts == ["G9", "G8", "G7"] * 2
    assert [label.get_text() for label in ax.get_yticklabels()] == ["mine", "other"]
    with pytest.raises(KeyError, match="lacks 'pearson'"):
        bs.pl.top_genes(table.drop(columns="pearson"))


@pytest.fixture
def summary():
    return pd.DataFrame(
        [
            {
                "held_out": "another donor",
                "method": name,
                "gene_set": gene_set,
                "genes_from": "reference",
                "mean": mean,
                "lower": mean - 0.1,
                "upper": mean,
            }
            for gene_set in ("HEG", "HVG")
            for name, mean in (("a", 0.3), ("bleep", 0.5), ("permuted", 0.0), ("noise ceiling", 0.7))
        ]
    )


def test_methods_are_sorted_and_the_ceiling_is_a_line(summary):
    axes = bs.pl.benchmark(summary)
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["permuted", "a", "bleep"]
    assert [line.get_xdata()[0] for line in axes[0].lines if line.get_linestyle() == "--"] == [0.7]
    with pytest.raises(KeyError, match="gene_sets='MG' is not in the table"):
        bs.pl.benchmark(summary, gene_sets=["MG"])


def test_what_was_held_out_stands_in_rows_with_an_order_of_its_own(summary):
    easier = summary.assign(held_out="another section of the same donor", mean=1 - summary["mean"])
    axes = bs.pl.benchmark(pd.concat([summary, easier]))
    assert [ax.get_title() for ax in axes[1:3]] == ["HVG, another donor", "HEG, another section of the same donor"]
    orders = [[label.get_text() for label in ax.get_yticklabels()] for ax in axes[::2]]
    assert orders == [["permuted", "a", "bleep"], ["bleep", "a", "permuted"]]
    with pytest.raises(KeyError, match=r"lacks 'held_out'. Pass what bleep_sc.bm.summarise returned"):
        bs.pl.benchmark(summary.drop(columns="held_out"))


@pytest.mark.parametrize(("length", "expected"), [(0.4, 1), (1, 1), (3, 2), (199, 100), (205, 200), (999, 500)])
def test_bars_have_round_lengths(length, expected):
    assert round_length(length) == expected
