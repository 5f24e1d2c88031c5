"""Figures of an evaluation."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import EllipseCollection

import bleep_sc as bs
from bleep_sc.pl._leiden import matched_names
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


def test_a_predicted_cluster_has_the_name_of_the_measured_one_that_it_shares_most_spots_with():
    measured = np.array(list("000111222"), dtype=object)
    predicted = np.array(list("222000113"), dtype=object)
    assert matched_names(measured, predicted) == {"2": "0", "0": "1", "1": "2", "3": "new 1"}
    assert matched_names(predicted, measured) == {"0": "2", "1": "0", "2": "1"}


def test_names_are_matched_so_that_all_pairs_together_share_most_spots():
    """One by one the largest overlap would take 0 with 0, and leave 1 with what it shares nothing with."""
    measured = np.array(list("000001111"), dtype=object)
    predicted = np.array(list("000110000"), dtype=object)
    assert matched_names(measured, predicted) == {"0": "1", "1": "0"}


def test_clusters_are_drawn_on_the_tissue_with_a_region_outlined(predicted):
    bs.tl.leiden(predicted, resolutions=[1.0])
    axes = bs.pl.leiden(predicted, mark="low_quality")
    (spots,) = [child for child in axes[0].collections if isinstance(child, EllipseCollection)]
    assert (np.asarray(spots.get_linewidths()) > 0).sum() == predicted.obs["low_quality"].sum()
    assert [ax.get_title() for ax in axes] == ["measured, Leiden", "predicted (bleep), Leiden"]
    legends = [[text.get_text() for text in ax.get_legend().get_texts()] for ax in axes]
    names = matched_names(
        *(predicted.obs[f"{name}_leiden"].astype(str).to_numpy(object) for name in ("measured", "bleep"))
    )
    assert set(legends[1]) == set(names.values())
    assert set(legends[0]) == set(predicted.obs["measured_leiden"].astype(str))
    with pytest.raises(ValueError, match=r"title=.* must be two titles"):
        bs.pl.leiden(predicted, title=["one"])
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
    assert [ax.get_title().replace("\n", " ") for ax in axes[1:3]] == [
        "HVG, another donor",
        "HEG, another section of the same donor",
    ]
    orders = [[label.get_text() for label in ax.get_yticklabels()] for ax in axes[::2]]
    assert orders == [["permuted", "a", "bleep"], ["bleep", "a", "permuted"]]
    with pytest.raises(KeyError, match=r"lacks .held_out.. Pass a summary: bleep_sc.bm.summarise does"):
        bs.pl.benchmark(summary.drop(columns="held_out"))


@pytest.mark.parametrize("figsize", [None, (5, 5), (2.5, 2)])
def test_the_title_of_a_benchmark_stands_within_the_figure(summary, figsize):
    asked = summary.assign(held_out="another section of the same donor (of 4 donors)")
    ax = bs.pl.benchmark(asked, gene_sets=["HVG"], figsize=figsize)
    ax.figure.canvas.draw()
    box = ax.title.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= ax.figure.bbox.width
    assert figsize is None or ax.figure.get_size_inches().tolist() == list(figsize)


def test_few_genes_have_their_names_on_both_sides_within_the_figure(predicted):
    few = predicted[:, ["HAL", "CYP3A4", "ALB", "OAT"]].copy()
    bs.tl.gene_correlation(few)
    axes = bs.pl.gene_correlation(few)
    axes[0].figure.canvas.draw()
    rows = [label.get_text() for label in axes[0].get_yticklabels()]
    assert sorted(rows) == ["ALB", "CYP3A4", "HAL", "OAT"]
    assert axes[0].figure.axes[-1].get_tightbbox().x1 <= axes[0].figure.bbox.width + 1  # the colour bar
    for ax in axes:
        assert [label.get_text() for label in ax.get_xticklabels()] == rows
        box = ax.get_tightbbox()
        assert box.x0 >= 0
        assert box.y0 >= -1
        assert box.y1 <= ax.figure.bbox.height + 1


def test_ranks_of_many_genes_stand_apart(predicted):
    for ax in bs.pl.mean_variance(predicted):
        ax.set_xlim(-600, 13100)
        ax.figure.canvas.draw()
        boxes = [label.get_window_extent() for label in ax.get_xticklabels() if 0 <= label.get_position()[0] <= 13000]
        assert all(a.x1 + 8 < b.x0 for a, b in pairwise(boxes))


@pytest.mark.parametrize(("length", "expected"), [(0.4, 1), (1, 1), (3, 2), (199, 100), (205, 200), (999, 500)])
def test_bars_have_round_lengths(length, expected):
    assert round_length(length) == expected


def test_a_table_of_another_kind_says_what_it_lacks_and_what_makes_it():
    genes = pd.DataFrame({"method": ["ridge"], "gene": ["A"], "pearson": [0.5]})
    with pytest.raises(
        KeyError, match=r"table= lacks 'held_out', .* bleep_sc\.bm\.summarise\(table\) makes it of this table"
    ):
        bs.pl.benchmark(genes)
    summary = pd.DataFrame(columns=["held_out", "gene_set", "genes_from", "method", "mean", "upper"])
    with pytest.raises(KeyError, match=r"table= lacks 'lower'\. Pass a summary: bleep_sc\.bm\.summarise does"):
        bs.pl.benchmark(summary)
