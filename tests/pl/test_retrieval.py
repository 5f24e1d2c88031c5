import numpy as np
import pytest

import bleep_sc as bs


@pytest.fixture
def imputed(fitted, query):
    bs.tl.impute(query, ref=fitted)
    return query


def test_patches_and_places_are_those_of_the_largest_weights(imputed, fitted):
    imputed.obsm["bleep_weights"].data[50 * 7] *= 1.5  # one neighbour of the eighth spot stands out
    axes = bs.pl.retrieval(imputed, fitted, 7, n_patches=3)
    weights = imputed.obsm["bleep_weights"][7].toarray().ravel()
    best = int(weights.argmax())
    assert len(axes) == 4 + 1 + len(set(fitted.obs["library_id"][weights > 0]))
    np.testing.assert_array_equal(axes[0].images[0].get_array(), imputed.obsm["patches"][7])
    np.testing.assert_array_equal(axes[1].images[0].get_array(), fitted.obsm["patches"][best])
    keys = fitted.obsm["X_bleep_expression"][weights > 0]
    cosine = keys @ imputed.obsm["X_bleep_image"][7] / np.linalg.norm(keys, axis=1)
    cosine[np.flatnonzero(weights > 0) == best] = -np.inf  # it is shown first, for its weight
    second = np.flatnonzero(weights > 0)[cosine.argmax()]
    np.testing.assert_array_equal(axes[2].images[0].get_array(), fitted.obsm["patches"][second])
    assert axes[0].get_title() == imputed.obs_names[7]
    assert axes[1].get_title() == f"{fitted.obs['library_id'].iloc[best]}, {weights[best]:.0%}"
    np.testing.assert_allclose(axes[4].collections[-1].get_offsets(), imputed.obsm["spatial"][[7]])
    drawn = sum(len(axis.collections[-1].get_offsets()) for axis in axes[5:])
    assert drawn == (weights > 0).sum()
    shares = [float(axis.get_title().split(", ")[1].rstrip("%")) for axis in axes[5:]]
    assert shares == sorted(shares, reverse=True)
    assert 98 <= sum(shares) <= 103


def test_a_spot_has_a_name_and_a_number(imputed, fitted):
    named = bs.pl.retrieval(imputed, fitted, imputed.obs_names[-1], n_patches=1)
    assert named[0].get_title() == bs.pl.retrieval(imputed, fitted, -1, n_patches=1)[0].get_title()
    with pytest.raises(KeyError, match="spot='nowhere' is not in adata"):
        bs.pl.retrieval(imputed, fitted, "nowhere")
    with pytest.raises(KeyError, match="spot=228 is not in adata, which has 228 spots"):
        bs.pl.retrieval(imputed, fitted, 228)


def test_another_reference_is_refused(imputed, fitted, query):
    for other in (fitted[:-1], fitted[::-1]):
        with pytest.raises(ValueError, match="is not the reference that"):
            bs.pl.retrieval(imputed, other.copy(), 0)
    del imputed.obsm["bleep_weights"]
    with pytest.raises(KeyError, match=r"Run bleep_sc.tl.impute"):
        bs.pl.retrieval(imputed, fitted, 0)
