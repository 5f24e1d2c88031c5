import numpy as np
import pytest
from matplotlib.colors import to_rgb

import bleep_sc as bs


def test_the_map_and_the_distribution_show_the_columns(fitted, query):
    bs.tl.impute(query, ref=fitted)
    query.obs["bleep_typicality"] = np.where(np.arange(query.n_obs) < 10, 0.01, 0.5)
    axes = bs.pl.confidence(query)
    assert axes.shape == (1, 2)
    spots = axes[0, 0].collections[0]
    np.testing.assert_allclose(spots.get_array(), query.obs["bleep_confidence"], rtol=1e-6)
    assert spots.get_clim() == (0, 1)
    rims = spots.get_edgecolors()
    assert (rims[:10, :3] == to_rgb("#d7301f")).all()
    assert not (rims[10:, 3]).any()
    heights = sum(patch.get_height() for patch in axes[0, 1].patches)
    assert heights == query.n_obs
    assert axes[0, 1].get_title() == f"{10 / query.n_obs:.0%} on foreign tissue"


def test_slides_are_rows_and_typicality_may_be_unknown(fitted, query):
    bs.tl.impute(query, ref=fitted)
    del query.obs["bleep_typicality"]
    axes = bs.pl.confidence(query, library_id="slice3")
    assert axes[0, 1].get_title() == "foreign tissue: not known"
    with pytest.raises(KeyError, match=r"library_id='slice9' is not in adata \(it has: 'slice3'\)"):
        bs.pl.confidence(query, library_id="slice9")


def test_what_is_missing_is_named(query):
    with pytest.raises(KeyError, match=r"obs\['bleep_confidence'\] not found .*from a reference of several slides"):
        bs.pl.confidence(query)


def test_colours_begin_and_end_where_they_are_told_to(fitted, query):
    bs.tl.impute(query, ref=fitted)
    values = query.obs["bleep_confidence"].to_numpy()

    def ends(**given):
        return bs.pl.confidence(query, **given)[0, 0].collections[0].get_clim()

    assert ends(vmin=0.2, vmax=0.9) == (0.2, 0.9)
    np.testing.assert_allclose(ends(vmin="p10", vmax=np.max), (np.percentile(values, 10), values.max()), rtol=1e-6)
    with pytest.raises(ValueError, match=r"vmin=2 and vmax=1.0: colours would begin at 2 and end at 1"):
        ends(vmin=2)
    with pytest.raises(
        TypeError, match=r"pl\.confidence does not take vmn=0\.2\. Did you mean 'vmin'.* It takes: adat"
    ):
        ends(vmn=0.2)
