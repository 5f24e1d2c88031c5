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
    x, y = np.asarray(genes.collections[0].get_offsets()).T
    np.testing.assert_allclose(x, fitted.var["bleep_predictability"][panel], rtol=1e-5)
    assert np.corrcoef(x, y)[0, 1] > 0.5  # what the reference expected is about what came


def test_what_is_missing_is_named(fitted, query):
    with pytest.raises(KeyError, match=r"obs\['bleep_confidence'\] not found .*interval=0.9"):
        bs.pl.calibration(query)
    bs.tl.impute(query, ref=fitted)
    with pytest.raises(KeyError, match=r"layers\['bleep_lower'\] not found .*interval=0.9"):
        bs.pl.calibration(query)
