"""Genes, slides, columns and titles whose names mean something elsewhere are shown as they are."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from scipy import sparse

import bleep_sc as bs

ODD = r"$\bad{$ <script>|=1+1"
SLIDE = "$bad{$ <script>|=1+1"  # files take no slash in the name of a slide
TABLE = pd.DataFrame(
    [(ODD, ODD, 0.5), ("b", ODD, 0.4), (ODD, "HVG", 0.3), ("b", "HVG", 0.2)], columns=["method", "gene_set", "mean"]
).assign(genes_from="reference", held_out="another donor", lower=0.1, upper=0.6)
BEST = pd.DataFrame({"method": ODD, "gene": [f"{ODD}{i}" for i in range(6)], "pearson": np.linspace(0.1, 0.6, 6)})


@pytest.fixture(scope="module")
def odd(_toy):
    """A slide in which every name is odd, with all that plots read, made up."""
    adata = _toy[_toy.obs["library_id"] == "slice3", :12].copy()
    adata.var_names = [f"{name}{ODD}" for name in adata.var_names]
    adata.obs["library_id"] = SLIDE
    adata.uns["spatial"] = {SLIDE: adata.uns["spatial"]["slice3"]}
    adata.uns["patches"] = {SLIDE: adata.uns["patches"]["slice3"]}
    measured = adata.X.toarray()
    for name, offset in ((ODD, 0.1), (f"{ODD}_lower", -1.0), (f"{ODD}_upper", 1.0)):
        adata.layers[name] = measured + np.float32(offset)
    adata.obs[f"{ODD}_confidence"] = np.linspace(0, 1, adata.n_obs)
    adata.var[f"{ODD}_predictability"] = np.linspace(-0.5, 0.5, adata.n_vars)
    adata.uns[f"{ODD}_imputed"] = {"interval": 0.8}
    correlation = sparse.csr_matrix(bs.metrics.gene_correlation(measured))
    adata.varp["measured_correlation"] = adata.varp[f"{ODD}_correlation"] = correlation
    clusters = pd.Categorical([(ODD, f"_{ODD}")[i % 2] for i in range(adata.n_obs)])
    adata.obs["measured_leiden"] = adata.obs[f"{ODD}_leiden"] = adata.obs[ODD] = clusters
    adata.obsm[f"X_{ODD}_umap"] = adata.obsm["spatial"].astype(np.float32)
    slides = np.array([(ODD, f"_{ODD}")[i % 2] for i in range(adata.n_obs)])
    record = {"reference": adata.obsm[f"X_{ODD}_umap"], "reference_library": slides, "lisi": 0.5, "silhouette": 0.5}
    adata.uns[f"{ODD}_umap"] = record
    return adata


@pytest.mark.parametrize(
    ("plot", "arguments", "least"),
    [
        ("spatial", {"color": [f"CYP3A4{ODD}", ODD], "layer": [None, ODD]}, 4),
        ("confidence", {"layer": ODD}, 1),
        ("gene_correlation", {"layer": [None, ODD]}, 13),
        ("leiden", {"layer": ODD}, 5),
        ("mean_variance", {"layer": ODD}, 1),
        ("umap", {"layer": ODD}, 3),
        ("patches", {}, 1),
        ("calibration", {"layer": ODD}, 0),
        ("benchmark", {"gene_sets": [ODD, "HVG"]}, 2),
        ("top_genes", {}, 6),
    ],
)
def test_figures(odd, plot, arguments, least):
    if plot == "spatial":
        arguments = {**arguments, "color": [odd.var_names[0], ODD]}
    drawn = getattr(bs.pl, plot)({"benchmark": TABLE, "top_genes": BEST}.get(plot, odd), **arguments)
    figure = np.ravel(drawn)[0].figure
    figure.set_size_inches(16, 9)
    figure.canvas.draw()
    shown = [text._preprocess_math(text.get_text()) for text in figure.findobj(Text)]
    assert sum(ODD in text or SLIDE in text for text, _ in shown) >= least
    assert not any(is_math for text, is_math in shown if "script" in text)
    plt.close(figure)


def test_a_model_card(reference, tmp_path):
    reference.var_names = [f"{name}{ODD}\n" for name in reference.var_names]
    config = bs.tl.FitConfig(max_epochs=1, views=("scaled",), cross_fit=False)
    bs.tl.fit(reference, use_rep="X_stain_stats", config=config, show_progress_bar=False)
    told = {"title": f"A\n# {ODD}", "organism": ODD, "tissue": f"{ODD}\n|", "license": ODD}
    bs.tl.share_reference(reference, tmp_path / "shared", **told)
    card = (tmp_path / "shared" / "README.md").read_text()
    head, body = card.split("---\n")[1:3]
    assert f"license: {json.dumps(ODD)}\n" in head
    escaped = r"\$\\bad{\$ \<script>\|=1+1"
    assert f"\n# A # {escaped}\n" in body
    assert f"| organism | {escaped} |\n" in body
    assert f"| tissue | {escaped} \\| |\n" in body
    for line in body.splitlines():
        assert "<script" not in line.replace(r"\<script", "")
        if line.startswith("|"):
            assert line.replace(r"\|", "").count("|") == 3


def test_geojson(fitted, query, tmp_path):
    bs.tl.impute(query, ref=fitted)
    gene = f"HAL{ODD}\n\0"
    query.var_names = [gene if name == "HAL" else name for name in query.var_names]
    query.obs["zone"] = ODD
    bs.tl.to_geojson(query, tmp_path / "a.geojson", genes=gene, classes="zone")
    first = json.loads((tmp_path / "a.geojson").read_text())["features"][0]["properties"]
    assert list(first["measurements"]) == [gene]
    assert first["classification"] == {"name": ODD}
