"""The table for a paper, against the summary and against numbers by hand."""

import numpy as np
import pandas as pd
import pytest

import bleep_sc as bs

GENES, SLIDES = [f"G{number}" for number in range(6)], {"a": "P", "b": "P", "c": "Q", "d": "Q"}


@pytest.fixture
def table():
    """Three methods, two seeds, four slides of two donors: random numbers."""
    random, rows = np.random.default_rng(0), []
    for method in ("location", "ridge", "mine"):
        for seed in (0, 1) if method == "mine" else (0,):
            for library, donor in SLIDES.items():
                for place, gene in enumerate(GENES):
                    rows.append(
                        {
                            "method": method,
                            "seed": seed,
                            "group": library,
                            "library": library,
                            "donor": donor,
                            "same_donor": False,
                            "gene": gene,
                            "pearson": random.uniform(0, 0.6),
                            "partial": np.nan if method == "location" else random.uniform(0, 0.3),
                            "ceiling": 0.5 + 0.05 * place,
                            "crps": random.uniform(0.2, 0.4),
                            "crps_reference": 0.4 + 0.1 * place,
                            "measured_variance": 1.0 + place,
                            "predicted_variance": random.uniform(0, 1),
                            "seconds": 2.0 if method == "ridge" else 3.0 + seed,
                            "MG": place == 0,
                            "HEG_reference": place < 2,
                            "HVG_reference": place > 1,
                            "HEG_truth": place < 3,
                            "HVG_truth": place > 2,
                        }
                    )
    return pd.DataFrame(rows)


def row(paper, measure, method):
    return paper[(paper["measure"] == measure) & (paper["method"] == method)].iloc[0]


@pytest.mark.parametrize("against", [None, "ridge"])
def test_correlations_are_those_of_the_summary(table, against):
    paper = bs.bm.paper_table(table, against=against, random_state=3)
    summary = bs.bm.summarise(table, against=against, random_state=3)
    labels = {"MG": "MG", "all": "all"}
    for _, each in summary.iterrows():
        measure = labels.get(each["gene_set"], f"{each['gene_set']} ({each['genes_from']})")
        own = row(paper, measure, each["method"])
        for name in ("mean", "lower", "upper", "gain", "gain_lower", "gain_upper", "n_slides", "n_donors", "seconds"):
            assert own[name] == pytest.approx(each[name], nan_ok=True), (measure, each["method"], name)
        assert own["better"] == "higher"
    hvg = summary.query("gene_set == 'HVG' and genes_from == 'reference'").set_index("method")
    for method in ("ridge", "mine"):
        assert row(paper, "share of ceiling", method)["mean"] == pytest.approx(hvg.loc[method, "of_ceiling"])
        assert row(paper, "r given location copy", method)["mean"] == pytest.approx(hvg.loc[method, "partial"])
    errors = bs.bm.summarise(table, metric="crps", against=against, random_state=3)
    errors = errors.query("gene_set == 'HVG' and genes_from == 'reference'").set_index("method")
    for method in ("location", "mine"):
        own = row(paper, "CRPS", method)
        assert own["better"] == "lower"
        assert own["gain"] == pytest.approx(errors.loc[method, "gain"], nan_ok=True)
        assert own["upper"] == pytest.approx(errors.loc[method, "upper"])


def test_skill_and_variance_by_hand(table):
    """Seeds are averaged first, of each slide; a gene that one method lacks counts for none of the skills."""
    table.loc[(table["method"] == "ridge") & (table["gene"] == "G5") & (table["library"] == "a"), "crps"] = np.nan
    paper = bs.bm.paper_table(table)
    own, of_slides, ratios = table[(table["method"] == "mine") & table["HVG_reference"]], [], []
    for library in SLIDES:
        part = own[own["library"] == library]
        known = part[part["gene"] != "G5"] if library == "a" else part
        crps = np.mean([known.loc[known["seed"] == seed, "crps"].mean() for seed in (0, 1)])
        of_slides.append(1 - crps / known.loc[known["seed"] == 0, "crps_reference"].mean())
        by_seed = [part[part["seed"] == seed] for seed in (0, 1)]
        ratios.append(np.mean([np.median(each["predicted_variance"] / each["measured_variance"]) for each in by_seed]))
    donors = np.array(list(SLIDES.values()))
    expected = bs.metrics.bootstrap_interval(np.array(of_slides), donors)
    skill = row(paper, "CRPS skill", "mine")
    assert (skill["mean"], skill["lower"]) == pytest.approx((expected.mean, expected.lower))
    assert row(paper, "variance ratio", "mine")["mean"] == pytest.approx(np.mean(ratios))
    assert row(paper, "variance ratio", "mine")["better"] == "one"


def test_structure_has_columns_of_its_own_and_slides_without_a_value_are_left_out(table):
    values = {"ridge": [0.1, 0.2, 0.3, 0.4], "mine": [0.3, np.nan, 0.5, 0.8], "location": [np.nan] * 4}
    rows = [
        {"library": library, "method": method, "metric": "Moran's I", "value": value, "n_genes": 5}
        for method, of_method in values.items()
        for library, value in zip(SLIDES, of_method, strict=True)
    ]
    paper = bs.bm.paper_table(table, pd.DataFrame(rows), against="ridge")
    own = row(paper, "Moran's I", "mine")
    assert own["mean"] == pytest.approx((0.3 + 0.5 + 0.8) / 3)
    assert own["gain"] == pytest.approx((0.2 + 0.2 + 0.4) / 3)
    assert own["n_slides"] == 3
    assert np.isnan(row(paper, "Moran's I", "location")["mean"])
    assert row(paper, "Moran's I", "location")["n_slides"] == 0


def test_the_order_of_the_rows_makes_no_difference(table):
    shuffled = table.sample(frac=1, random_state=0)
    one, other = (
        bs.bm.paper_table(each, against="ridge").sort_values(["measure", "method"]) for each in (table, shuffled)
    )
    numbers = ["mean", "gain", "n_slides"]
    np.testing.assert_allclose(one[numbers].to_numpy(float), other[numbers].to_numpy(float))


def test_it_becomes_latex(table):
    paper = bs.bm.paper_table(table, against="ridge")
    text = bs.bm.to_latex(paper[paper["measure"].isin(["MG", "CRPS"])])
    lines = [line.removesuffix(r" \\") for line in text.splitlines() if "&" in line]
    assert lines[0] == "method & MG & CRPS"
    mine = row(paper, "CRPS", "mine")
    assert f"{mine['mean']:.3f} [{mine['lower']:.3f}, {mine['upper']:.3f}]" in lines[3]
    assert [line.split(" & ")[0] for line in lines[1:]] == ["location", "ridge", "mine", "noise ceiling"]
    assert "gain over ridge & MG" in bs.bm.to_latex(paper, value="gain")


def test_another_table_is_refused(table):
    with pytest.raises(KeyError, match=r"against='bleep' was not compared \(methods: 'location', 'ridge', 'mine'\)"):
        bs.bm.paper_table(table, against="bleep")
    with pytest.raises(KeyError, match=r"table= lacks 'crps_reference'\. Pass what bleep_sc\.bm\.cross_validate ret"):
        bs.bm.paper_table(table.drop(columns="crps_reference"))
