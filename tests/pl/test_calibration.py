import numpy as np
import pytest

import bleep_sc as bs


def test_the_panels_show_what_was_promised_and_what_came(fitted, query):
    bs.tl.impute(query, ref=fitted, interval=0.8)
    errors, shares, genes = bs.pl.calibration(query)
    panel = fitted.var["highly_variable"].to_numpy()
    truth, predicted = query.X.toarray()[:, panel], query.layers["bleep"][:, panel]
    error = (np.square(truth - predicted) / truth.var(axis=0)).mean(axis=1)
    fifths = np.array_split(np.argsort(query.obs["bleep_confidence"].to_numpy(), kind="stable"), 5)
    np.testing.assert_allclose(errors.lines[0].get_ydata(), [error[spots].mean() for spots in fifths], rtol=1e-4)
    assert sum(patch.get_height() for patch in shares.patches) == panel.sum()
    assert shares.lines[0].get_xdata()[0] == 0.8
    dots, mark = genes.collections
    x, y = np.asarray(dots.get_offsets()).T
    np.testing.assert_allclose(x, fitted.var["bleep_predictability"][panel], rtol=1e-5)
    assert np.corrcoef(x, y)[0, 1] > 0.5  # what the reference expected is about what came
    best = np.argsort(-x)[:50]
    np.testing.assert_allclose(mark.get_offsets(), [[x[best].mean(), y[best].mean()]], rtol=1e-5)
    assert genes.get_title() == f"best {len(best)}: {x[best].mean():.2f} promised,\n{y[best].mean():.2f} reached"


def test_every_slide_is_correlated_within_itself_and_every_layer_has_a_row(fitted, query):
    """A level of its own makes no slide better: correlations are within slides."""
    bs.tl.impute(query, ref=fitted, interval=0.8)
    once = np.asarray(bs.pl.calibration(query)[2].collections[0].get_offsets())
    half = np.arange(query.n_obs) % 2 == 0
    query.obs["half"] = np.where(half, "a", "b")
    query.X = query.X.toarray()
    query.X[half] += 3
    bs.tl.impute(query, ref=fitted, interval=0.8, key_added="again")
    axes = bs.pl.calibration(query, ["bleep", "again"], library_key="half")
    assert axes.shape == (6,)
    assert [axes[0].get_title(), axes[3].get_title()] == ["bleep", "again"]
    first, _, second, _ = axes[2].collections
    panel = query.var["bleep_predicted"].to_numpy() & np.isfinite(query.var["bleep_predictability"].to_numpy())
    for dots, rows in ((first, half), (second, ~half)):
        expected = bs.metrics.pearson(query.layers["bleep"][rows][:, panel], query.X[rows][:, panel])
        np.testing.assert_allclose(np.asarray(dots.get_offsets())[:, 1], expected, rtol=1e-4)
    assert [text.get_text() for text in axes[2].get_legend().get_texts()] == ["a", "b"]
    assert not np.allclose(np.asarray(first.get_offsets()), once)


def test_what_was_not_promised_is_said_and_not_drawn(fitted, query):
    bs.tl.impute(query, ref=fitted, interval=0.8)
    query.var["bleep_predictability"] = np.float32(np.nan)
    query.uns["bleep_imputed"]["predictability_of"] = "fitted on one donor"
    errors, shares, genes = bs.pl.calibration(query)
    assert [text.get_text() for text in genes.texts] == ["not promised: fitted on\none donor"]
    assert not genes.collections
    assert errors.lines
    assert shares.patches


def test_what_is_missing_is_named(fitted, query):
    with pytest.raises(KeyError, match=r"layers\['bleep'\] not found .*interval=0.9"):
        bs.pl.calibration(query)
    query.layers["plain"] = query.X.copy()
    with pytest.raises(KeyError, match=r"obs\['plain_confidence'\] not found .*interval=0.9"):
        bs.pl.calibration(query, "plain")
    bs.tl.impute(query, ref=fitted)
    with pytest.raises(KeyError, match=r"layers\['bleep_lower'\] not found .*interval=0.9"):
        bs.pl.calibration(query)
