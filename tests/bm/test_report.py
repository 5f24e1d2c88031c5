import numpy as np
import pandas as pd
import pytest

import bleep_sc as bs

REP = "X_stain_stats"


@pytest.fixture(scope="module")
def compared(_toy):
    adata = _toy.copy()
    adata.X = adata.layers["counts"].copy()
    methods = bs.bm.methods(["mean", "location", "ridge"], use_rep=REP)
    config = bs.tl.FitConfig(max_epochs=40)

    def bleep(train, query, random_state):
        bs.tl.fit(train, use_rep=REP, config=config, random_state=random_state, show_progress_bar=False)
        bs.tl.impute(query, ref=train)
        return query.obsm["bleep_weights"]

    table, predictions = bs.bm.cross_validate(
        adata,
        {**methods, "bleep": bleep},
        group_key="library_id",
        use_rep=REP,
        n_top_genes=40,
        return_predictions=True,
    )
    return adata, table, predictions


def test_the_report_holds_every_exhibit_in_one_file(compared, tmp_path):
    adata, table, predictions = compared
    out = tmp_path / "report"
    bs.bm.report(
        adata,
        (table, predictions),
        out,
        group_key="library_id",
        library_id="slice3",
        mark="low_quality",
        against="ridge",
        notes="T<o>y",
    )
    page = (out / "report.html").read_text()
    assert "T&lt;o&gt;y" in page
    assert "<h1>Another slide (donors not told): one slide left out after another</h1>" in page
    assert page.count("<figure>") == 8
    assert page.count("data:image/png;base64,") == 8
    assert "<script" not in page
    assert 'src="http' not in page
    assert "others of the same donor may have been trained on" in page
    assert "allow no inference between donors" in page
    summary = pd.read_csv(out / "summary.csv")
    bleep = summary.query("method == 'bleep' and gene_set == 'HVG' and genes_from == 'reference'")
    assert f"{bleep['mean'].item():.3f} [" in (out / "summary.md").read_text()
    assert {path.suffix for path in out.iterdir()} == {".html", ".csv", ".md", ".png", ".tex"}
    paper = pd.read_csv(out / "paper_table.csv").set_index(["measure", "method"])
    assert paper.loc[("HVG (reference)", "bleep"), "mean"] == pytest.approx(bleep["mean"].item())
    structure = pd.read_csv(out / "structure.csv").query("metric == \"Moran's I\" and method == 'ridge'")
    assert paper.loc[("Moran's I", "ridge"), "mean"] == pytest.approx(structure["value"].mean())
    assert 0 < paper.loc[("CRPS skill", "bleep"), "mean"] < 1
    assert paper.loc[("CRPS skill", "mean"), "mean"] < 0  # a point is worse than all training spots
    assert set(paper["gain_over"].dropna()) == {"ridge"}
    said = pd.read_csv(out / "sentences.csv").set_index("sentence")
    kept = "Clusters of measurements show regions of low quality, and those of BLEEP's predictions do not."
    assert said.loc[kept, "verdict"] == "holds"
    assert said.loc["BLEEP keeps correlations between genes better than ST-Net.", "verdict"] == "not run"
    exhibits = (out / "exhibits.md").read_text()
    for heading in ("Differences", "Batches (supplementary figure 1)", "Clusters (supplementary table 2)"):
        assert f"### {heading}" in exhibits
        assert f"<h2>{heading}: another slide" in page
    assert kept in exhibits
    assert "gain over ridge & " in (out / "paper_gains.tex").read_text()
    assert "Methods that failed" not in page


def test_clusters_show_low_quality_where_it_was_measured_and_not_where_it_was_predicted(compared):
    """Figure 5's claim, as a number: low quality is in the counts, and the image does not show it."""
    adata, _, predictions = compared
    slide = bs.bm.held_out(adata, predictions, "slice3", group_key="library_id")
    bs.tl.leiden(slide)
    seen = {
        name: bs.metrics.cluster_agreement(slide.obs["low_quality"], slide.obs[f"{name}_leiden"])["ami"]
        for name in ("measured", "bleep")
    }
    assert seen["measured"] > 0.1
    assert seen["bleep"] < 0.25 * seen["measured"]


def test_structure_is_about_places_and_variance(compared):
    adata, _, predictions = compared
    slide = bs.bm.held_out(adata, predictions, "slice1", group_key="library_id")
    slide.layers["truth"] = slide.X.toarray()
    slide.var["truth_predicted"] = True
    table = bs.bm.structure(slide, ["truth", "ridge", "mean"]).set_index(["method", "metric"])["value"]
    assert table["truth", "relative variance distance"] == pytest.approx(0, abs=1e-9)
    assert table["truth", "SSIM"] == pytest.approx(1)
    assert table["truth", "Moran's I"] == pytest.approx(1)
    assert table["truth", "Leiden, ARI"] == pytest.approx(1)
    assert table["permuted", "relative variance distance"] == pytest.approx(0, abs=1e-6)
    assert table["permuted", "SSIM"] < 0.3
    assert table["ridge", "Moran's I"] > 0.2
    assert np.isnan(table["mean", "Moran's I"])
    assert np.isnan(table["mean", "Leiden, ARI"])
    assert table["mean", "spatially variable genes, AUC"] == 0.5


def test_a_group_that_was_not_predicted_is_named(compared):
    adata, _, predictions = compared
    with pytest.raises(KeyError, match="group='slice9' was not predicted"):
        bs.bm.held_out(adata, predictions, "slice9", group_key="library_id")


def test_depth_is_taken_out_of_the_measured_side(compared):
    adata, _, predictions = compared
    slide = bs.bm.held_out(adata, predictions, "slice1", group_key="library_id")
    table = bs.bm.structure(slide, ["ridge", "bleep"], n_top_genes=20).set_index(["method", "metric"])
    top = np.sort(np.argsort(-slide.X.toarray().var(axis=0), kind="stable")[:20])
    depth = np.log1p(slide.obs["total_counts"].to_numpy())
    measured = slide.X.toarray()[:, top]
    residuals = (
        measured
        - np.column_stack([np.ones_like(depth), depth])
        @ np.linalg.lstsq(np.column_stack([np.ones_like(depth), depth]), measured, rcond=None)[0]
    )
    upper = np.triu_indices(20, 1)
    ours, theirs = np.corrcoef(slide.layers["ridge"][:, top].T)[upper], np.corrcoef(residuals.T)[upper]
    assert table.loc[("ridge", "gene-gene correlation"), "value"] == pytest.approx(
        np.corrcoef(ours, theirs)[0, 1], abs=1e-3
    )
    assert table["n_genes"].unique().tolist() == [20]


def test_layers_are_compared_over_the_genes_that_all_of_them_hold(compared):
    adata, _, predictions = compared
    holed = {name: dict(groups) for name, groups in predictions.items()}
    frame = holed["ridge"]["slice1"].copy()
    frame.iloc[:, :30] = np.nan
    holed["ridge"]["slice1"] = frame
    slide = bs.bm.held_out(adata, holed, "slice1", group_key="library_id")
    table = bs.bm.structure(slide, ["bleep", "ridge"])
    assert table["n_genes"].unique().tolist() == [frame.shape[1] - 30]


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"method": "magic"}, KeyError, "method='magic' was not compared .*'bleep'"),
        ({"method": "mean"}, ValueError, "method='mean' predicts the same for all spots"),
        ({"genes": ["INS"]}, KeyError, "genes='INS' were not predicted"),
        ({"against": "stnet"}, KeyError, r"against='stnet' was not compared \(methods: 'mean', 'location'"),
        ({"mark": "nothing"}, KeyError, r"obs\['nothing'\] not found"),
        ({"library_id": "slice9"}, KeyError, r"library_id='slice9' was not predicted \(slides: 'slice1', 'slice2', "),
    ],
)
def test_what_is_not_there_is_named_before_anything_is_written(compared, tmp_path, kwargs, error, message):
    adata, table, predictions = compared
    with pytest.raises(error, match=message):
        bs.bm.report(adata, (table, predictions), tmp_path / "new", group_key="library_id", **kwargs)
    assert not (tmp_path / "new").exists()


def test_a_report_needs_a_prediction_that_varies(compared, tmp_path):
    adata, table, predictions = compared
    with pytest.raises(ValueError, match="No prediction varies over spots"):
        bs.bm.report(adata, (table, {"mean": predictions["mean"]}), tmp_path, group_key="library_id")
