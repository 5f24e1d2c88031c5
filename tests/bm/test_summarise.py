import io

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
                        "donor": {"a": "P", "b": "Q"}[library],
                        "same_donor": False,
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


def test_gains_are_over_the_method_that_was_named(table):
    """Two donors of two slides each: gains are paired slide by slide, and donors are drawn first."""
    third = table[table["method"] == "mine"].assign(method="third", pearson=lambda frame: frame["pearson"] ** 2)
    again = pd.concat([table, third])
    of_donors = pd.concat([again, again.assign(library=again["library"] + "2", group=again["group"] + "2")])
    of_donors.loc[of_donors["library"] == "a2", "pearson"] += 0.03
    of_donors.loc[(of_donors["library"] == "b2") & (of_donors["method"] == "third"), "pearson"] -= 0.02
    summary = rows(bs.bm.summarise(of_donors, against="mine", random_state=1), "all")
    means = of_donors.groupby(["method", "library"])["pearson"].mean()
    gains = means["third"] - means["mine"]
    expected = bs.metrics.bootstrap_interval(gains.to_numpy(), np.array(["P", "P", "Q", "Q"]), random_state=1)
    got = summary.loc["third", ["gain", "gain_lower", "gain_upper"]].tolist()
    assert got == pytest.approx([expected.mean, expected.lower, expected.upper])
    assert expected.lower < expected.upper
    assert summary["gain_over"].dropna().unique().tolist() == ["mine"]
    assert summary.loc["location", "gain"] == pytest.approx(-summary_gain(of_donors, "mine"))
    assert np.isnan(summary.loc["mine", "gain"])
    assert summary.loc["mine", "partial"] == pytest.approx(0.05)  # location copy was compared, too


def summary_gain(table, method):
    return rows(bs.bm.summarise(table), "all").loc[method, "gain"]


def test_gains_over_a_method_that_was_not_compared_are_refused(table):
    with pytest.raises(KeyError, match=r"against='ridge' was not compared \(methods: 'location', 'mine'\)"):
        bs.bm.summarise(table, against="ridge")


def test_an_undefined_correlation_counts_as_zero(table):
    table.loc[(table["method"] == "mine") & (table["gene"] == "G2"), "pearson"] = np.nan
    summary = rows(bs.bm.summarise(table), "all")
    assert summary.loc["mine", "mean"] == pytest.approx((0.3 + 0 + 0.5 + 0) / 4)
    assert summary.loc["mine", "n_undefined"] == 1


def test_donors_are_counted(table):
    two, one = bs.bm.summarise(table), bs.bm.summarise(table.assign(donor="P", same_donor=True))
    untold = bs.bm.summarise(table.assign(donor=None, same_donor=None))
    counted = {
        summary["held_out"].unique().item(): rows(summary, "all").loc["mine", ["n_slides", "n_donors"]].tolist()
        for summary in (two, one, untold)
    }
    assert counted == {
        "another donor": [2, 2],
        "another section of the same donor": [2, 1],
        "another slide (donors not told)": [2, 0],
    }


def test_another_donor_and_another_section_are_never_averaged(table):
    """Slide b is the only one of its donor: what it says stands alone, and above the easier question."""
    mixed = table.assign(same_donor=table["library"] == "a")
    summary = bs.bm.summarise(mixed)
    assert summary["held_out"].unique().tolist() == ["another donor", "another section of the same donor"]
    means = summary[(summary["gene_set"] == "all") & (summary["method"] == "mine")].set_index("held_out")["mean"]
    assert means["another donor"] == pytest.approx(0.6)
    assert means["another section of the same donor"] == pytest.approx(0.4)
    again = io.StringIO(mixed.to_csv(index=False))
    pd.testing.assert_frame_equal(bs.bm.summarise(pd.read_csv(again)), summary)


def test_a_table_that_does_not_say_whose_slides_it_has_is_refused(table):
    with pytest.raises(KeyError, match=r"table= lacks 'same_donor'.*cross_validate\(donor_key=\)"):
        bs.bm.summarise(table.drop(columns="same_donor"))


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


def test_one_slide_has_no_interval(table):
    summary = rows(bs.bm.summarise(table[table["library"] == "a"]), "all")
    assert summary.loc["mine", "mean"] == pytest.approx(0.4)
    assert summary[["lower", "upper"]].isna().all(axis=None)
