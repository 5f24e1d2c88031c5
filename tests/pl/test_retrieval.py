import matplotlib.pyplot as plt
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


def test_a_shared_reference_holds_no_patches_and_says_what_can_be_looked_at(fitted, query, tmp_path):
    bs.tl.share_reference(fitted, tmp_path / "shared")
    shared = bs.tl.load_reference(tmp_path / "shared")
    bs.tl.impute(query, ref=shared)
    with pytest.raises(
        KeyError, match=r"ref= has no patches to show: .* adata\.obsm\['bleep_weights'\]\[7\] has the"
    ) as raised:
        bs.pl.retrieval(query, shared, 7)
    assert "bleep_sc.pp.extract_patches(ref, {'slide': 'path', ...})" in str(raised.value)
    assert plt.get_fignums() == []


def test_maps_are_of_one_size_and_one_scale(imputed, fitted):
    weights = imputed.obsm["bleep_weights"]
    one = imputed.obs_names[0]
    fitted.obsm["spatial"][fitted.obs["library_id"] == "slice2"] *= 2  # another scan of it, and more of the slide
    fitted.uns["patches"]["slice2"]["mpp"] /= 2
    maps = [ax for ax in bs.pl.retrieval(imputed, fitted, one) if ax.collections]
    assert len(maps) == 1 + len(set(fitted.obs["library_id"][weights[0].toarray().ravel() > 0])) == 3
    maps[0].figure.figure.canvas.draw()
    boxes = np.array([ax.get_window_extent().bounds for ax in maps])
    np.testing.assert_allclose(boxes[:, 1:], np.broadcast_to(boxes[0, 1:], boxes[:, 1:].shape), atol=0.5)
    names = [ax.get_title().split(",")[0] for ax in maps]
    sides = np.array([[np.ptp(ax.get_xlim()), np.ptp(ax.get_ylim())] for ax in maps])
    doubled = np.array([[2.0 if name == "slice2" else 1.0] for name in names])
    np.testing.assert_allclose(sides / doubled, np.broadcast_to(sides[0], sides.shape))
    for ax in maps:
        x, y = ax.collections[-1].get_offsets().T
        assert (x > ax.get_xlim()[0]).all()
        assert (x < ax.get_xlim()[1]).all()
        assert (y < ax.get_ylim()[0]).all()
        assert (y > ax.get_ylim()[1]).all()


def test_many_patches_have_rows_and_the_name_of_the_spot_its_room(imputed, fitted):
    imputed.obs_names = [f"AAACAAGTATCTCCCA-1-{i}" for i in range(imputed.n_obs)]
    axes = bs.pl.retrieval(imputed, fitted, 7, n_patches=12)
    figure = axes[0].get_figure(root=True)
    figure.canvas.draw()
    titles = [ax.title.get_window_extent() for ax in axes[:13]]
    assert axes[0].get_title().replace("\n", "") == imputed.obs_names[7]
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.width for box in titles)
    assert not any(a.overlaps(b) for i, a in enumerate(titles) for b in titles[:i])
    assert axes[0].get_window_extent().y0 > axes[12].get_window_extent().y1  # in another row
