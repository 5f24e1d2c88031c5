"""Every plot that takes axes draws on those that were given, and on no others."""

import inspect

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import bleep_sc as bs

TAKE_AXES = [name for name in bs.pl.__all__ if "ax" in inspect.signature(getattr(bs.pl, name)).parameters]
PANELS = {
    "benchmark": [(1, {"gene_sets": ["HEG"]}), (2, {})],
    "calibration": [(3, {})],
    "confidence": [(2, {})],
    "gene_correlation": [(1, {"layer": "bleep"}), (2, {})],
    "history": [(1, {}), (2, {"key": "stnet"})],
    "leiden": [(2, {})],
    "mean_variance": [(2, {})],
    "patches": [(2, {})],
    "spatial": [
        (1, {"color": "HAL"}),
        (3, {"color": [None, "HAL", "zonation"], "ncols": 2}),
        (4, {"color": ["HAL", "CYP3A4"], "layer": [None, "bleep"]}),
    ],
    "registration": [(3, {})],
    "top_genes": [(1, {})],
    "umap": [(1, {})],
}
"""How many panels a plot has, by its arguments. A plot that takes axes and is not here fails."""
TABLES = {
    "benchmark": pd.DataFrame(
        [("bleep", "HEG", 0.5), ("ridge", "HEG", 0.4), ("bleep", "HVG", 0.3), ("ridge", "HVG", 0.2)],
        columns=["method", "gene_set", "mean"],
    ).assign(genes_from="reference", held_out="another donor", lower=0.1, upper=0.6),
    "top_genes": pd.DataFrame({"method": "bleep", "gene": list("abcdef"), "pearson": np.linspace(0.1, 0.6, 6)}),
}


@pytest.fixture(scope="module")
def predicted(_toy):
    """A slide with all that plots read, made up."""
    adata = _toy[_toy.obs["library_id"] == "slice3"].copy()
    measured = adata.X.toarray()
    for name, offset in (("bleep", 0.1), ("bleep_lower", -1.0), ("bleep_upper", 1.0)):
        adata.layers[name] = measured + np.float32(offset)
    adata.obs["bleep_confidence"] = np.linspace(0, 1, adata.n_obs)
    adata.var["bleep_predictability"] = np.linspace(-0.5, 0.5, adata.n_vars)
    adata.uns["bleep_imputed"] = {"interval": 0.8}
    correlation = sparse.csr_matrix(bs.metrics.gene_correlation(measured))
    adata.varp["measured_correlation"] = adata.varp["bleep_correlation"] = correlation
    adata.obs["measured_leiden"] = adata.obs["bleep_leiden"] = pd.Categorical(np.arange(adata.n_obs) % 2)
    adata.obsm["X_bleep_umap"] = adata.obsm["spatial"].astype(np.float32)
    reference = {"reference": adata.obsm["X_bleep_umap"], "reference_library": adata.obs["library_id"].to_numpy()}
    adata.uns["bleep"] = {"history": {"loss": np.linspace(3, 1, 5)}}
    validation = {"loss": np.linspace(3, 1, 5), "validation_pearson": np.eye(2, 5)}
    adata.uns["stnet"] = {"history": validation, "config": '{"learning_rates": [0.1, 0.01]}'}
    entry = {
        "matrix": np.eye(3),
        "by": "matrix",
        "spatial_key": "spatial",
        "unregistered": adata.uns["spatial"]["slice3"],
    }
    adata.uns["registration"] = {"slice3": entry}
    adata.obsm["spatial_unregistered"] = adata.obsm["spatial"].copy()
    adata.uns["bleep_umap"] = {**reference, "lisi": 0.5, "silhouette": 0.5}
    return adata


@pytest.mark.parametrize("name", TAKE_AXES)
def test_a_plot_draws_on_the_axes_that_were_given(name, predicted):
    plot, data = getattr(bs.pl, name), TABLES.get(name, predicted)
    for n, arguments in PANELS[name]:
        figure, axes = plt.subplots(1, n + 1)
        with pytest.raises(ValueError, match=rf"ax= has {n + 1} axes, but there are {n} panels to draw"):
            plot(data, ax=axes, **arguments)
        assert not any(ax.has_data() for ax in axes)
        given, spare = axes[:n][::-1], axes[n]
        drawn = plot(data, ax=given[0] if n == 1 else given, **arguments)
        assert list(np.ravel(drawn)) == list(given)
        assert isinstance(drawn, np.ndarray) == (n > 1)
        assert all(ax.has_data() for ax in given)
        assert not spare.has_data()
        assert plt.get_fignums() == [figure.number]
        plt.close(figure)


@pytest.mark.parametrize("name", TAKE_AXES)
def test_a_plot_is_saved_shown_and_returned_where_that_is_asked_for(name, predicted, tmp_path, monkeypatch):
    plot, data, (_, arguments) = getattr(bs.pl, name), TABLES.get(name, predicted), PANELS[name][0]
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.gcf()))
    figure = plot(data, return_fig=True, **arguments)
    assert isinstance(figure, plt.Figure)
    assert not shown
    assert plot(data, show=True, save=tmp_path / "it.png", **arguments) is None
    assert len(shown) == 1
    assert (tmp_path / "it.png").stat().st_size > 1000
    assert plt.get_fignums() == [figure.number]  # what was saved is closed
