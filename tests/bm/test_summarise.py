import numpy as np
import pandas as pd
import pytest

import bleep_sc as bs


@pytest.fixture
def table():
    """Two genes, two slides of a patient each, two methods: numbers that can be averaged in one's head."""
    rows = []
    for method, offset in (("location", 0.0), ("mine", 0.1)):
        for library, level in (("a", 0.2), ("b", 0.4)):
            for gene, extra in (("G1", 0.0), ("G2", 0.2)):
                rows.append(
                    {
                        "method": method,
                        "seed": 0,
                        "group": library,
                        "library": library,
                        "gene": gene,
                        "pearson": level + extra + offset,
                        "partial": 0.05 if method == "mine" else np.nan,
                        "ceiling": 0.8,
                        "seconds": 2.0,
                        "MG": False,
                        **{
                            f"{name}_{origin}": gene == "G2"
                            for name in ("HEG", "HVG")
                            for origin in ("reference", "truth")
                        },
                    }
                )
    return pd.DataFrame(rows)


def rows(summary, gene_set):
    return summary[summary["gene_set"] == gene_set].drop_duplicates("method").set_index("method")


def test_means_gains_and_shares(table):
    summary = rows(bs.bm.summarise(table), "all")
    assert summary.loc["location", "mean"] == pytest.approx(0.4)
    assert summary.loc["mine", "mean"] == pytest.approx(0.5)
    assert summary.loc["mine", "gain"] == pytest.approx(0.1)
    assert summary.loc["mine", ["gain_lower", "gain_upper"]].tolist() == pytest.approx([0.1, 0.1])
    assert summary.loc["mine", "partial"] == pytest.approx(0.05)
    assert summary.loc["mine", "of_ceiling"] == pytest.approx(0.5 / 0.8)
    assert summary.loc["noise ceiling", "mean"] == pytest.approx(0.8)
    assert np.isnan(summary.loc["location", "gain"])
    assert rows(bs.bm.summarise(table), "HEG").loc["mine", "mean"] == pytest.approx(0.6)


def test_an_undefined_correlation_counts_as_zero(table):
    table.loc[(table["method"] == "mine") & (table["gene"] == "G2"), "pearson"] = np.nan
    summary = rows(bs.bm.summarise(table), "all")
    assert summary.loc["mine", "mean"] == pytest.approx((0.3 + 0 + 0.5 + 0) / 4)
    assert summary.loc["mine", "n_undefined"] == 1


def test_patients_are_counted(table):
    one = rows(bs.bm.summarise(table), "all")
    two = rows(bs.bm.summarise(table, patients={"a": "P", "b": "Q"}), "all")
    assert one.loc["mine", ["n_slides", "n_patients"]].tolist() == [2, 1]
    assert two.loc["mine", ["n_slides", "n_patients"]].tolist() == [2, 2]


def test_seeds_are_averaged_before_slides(table):
    again = table[table["method"] == "mine"].assign(seed=1, pearson=lambda frame: frame["pearson"] + 0.2)
    summary = rows(bs.bm.summarise(pd.concat([table, again])), "all")
    assert summary.loc["mine", "mean"] == pytest.approx(0.6)
    assert summary.loc["mine", "sd_seeds"] == pytest.approx(np.std([0.5, 0.7], ddof=1))


def test_unknown_metrics_are_refused(table):
    with pytest.raises(KeyError, match="metric='auc' is no column"):
        bs.bm.summarise(table, metric="auc")


def test_a_method_that_leaves_genes_out_earns_nothing_by_it(table):
    """Errors are averaged over the genes that all methods predicted; correlations count a missing gene as zero."""
    table["rmse"] = np.where(table["gene"] == "G2", 2.0, 1.0)
    table.loc[(table["method"] == "mine") & (table["gene"] == "G2"), "rmse"] = np.nan
    summary = rows(bs.bm.summarise(table, metric="rmse"), "all")
    assert summary["mean"].to_dict() == {"location": 1.0, "mine": 1.0}
    assert summary["n_genes"].to_dict() == {"location": 1.0, "mine": 1.0}
    assert "of_ceiling" not in summary
    table["rmse"] = np.nan
    with pytest.raises(ValueError, match="No gene has a rmse for all methods"):
        bs.bm.summarise(table, metric="rmse")


def test_only_pearson_is_a_share_of_the_ceiling(table):
    summary = bs.bm.summarise(table.assign(spearman=table["pearson"]), metric="spearman")
    assert "of_ceiling" not in summary
    assert "noise ceiling" not in set(summary["method"])


def test_patients_that_are_missing_are_named_and_slides_may_have_numbers(table):
    with pytest.raises(KeyError, match=r"no entry for the slides 'b' \(it has: 'a'\)"):
        bs.bm.summarise(table, patients={"a": "P"})
    numbered = table.assign(library=table["library"].map({"a": "1", "b": "2"}))
    summary = bs.bm.summarise(numbered, patients={1: "P", 2: "Q"})
    assert summary["n_patients"].unique().tolist() == [2]


def test_one_slide_has_no_interval(table):
    summary = rows(bs.bm.summarise(table[table["library"] == "a"]), "all")
    assert summary.loc["mine", "mean"] == pytest.approx(0.4)
    assert summary[["lower", "upper"]].isna().all(axis=None)
