import numpy as np
import pytest
import torch

from bleep_sc.models.embed import embed_images
from bleep_sc.models.slide_scale import SlideScale
from bleep_sc.training import fit as module
from bleep_sc.training.alignment import learn_alignment
from bleep_sc.training.config import FitConfig
from bleep_sc.training.fit import fit_bleep
from bleep_sc.training.pairs import Pairs
from bleep_sc.training.prepared import prepare
from bleep_sc.training.processes.group import Processes

VIEWS = ("raw", "aligned", "components", "scaled", "components")


@pytest.fixture
def pairs():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(120, 12)) + 2 * rng.integers(0, 2, size=(120, 1))
    return Pairs(features.astype(np.float32), rng.normal(size=(120, 5)).astype(np.float32)), np.repeat(["a", "b"], 60)


def test_views_lie_side_by_side_as_the_heads_take_them(pairs):
    values, slides = pairs
    config = FitConfig(views=VIEWS, n_components=4)
    prepared = prepare(values, slides, config, 0, Processes())
    assert prepared.widths == [12, 4, 4, 4, 4]
    raw, aligned, components, scaled, again = np.split(prepared.pairs.images, np.cumsum(prepared.widths)[:-1], axis=1)
    np.testing.assert_array_equal(raw, values.images)
    np.testing.assert_array_equal(components, again)
    seen = {
        "aligned": (aligned, learn_alignment(values.images, slides, 0).apply(values.images, slides)),
        "components": (components, values.images),
        "scaled": (scaled, SlideScale.of(values.images, slides).apply(values.images, slides)),
    }
    for found, features in seen.values():
        centred = features - features.mean(axis=0)
        projected = found @ np.linalg.lstsq(found, centred, rcond=None)[0]
        assert np.square(found).sum() == pytest.approx(np.square(projected).sum(), rel=0.02)  # a rotation
        best = np.square(np.linalg.svd(centred, compute_uv=False)[:4]).sum()
        assert 0.95 * best < np.square(projected).sum() < 1.0001 * best  # found by a few random iterations


def test_nothing_is_learnt_for_views_that_are_not_there(pairs):
    for views, names in ((("raw",), set()), (("scaled",), {"feature_mean", "feature_std"})):
        prepared = prepare(*pairs, FitConfig(views=views), 0, Processes())
        assert set(prepared.buffers) == names
        assert prepared.rotations == [None]  # twelve features are no more than 256 components


def test_a_model_is_on_features_what_was_trained_on_views_of_them(pairs, monkeypatch):
    """Components, moments and offsets are all inside the model that is returned."""
    values, slides = pairs
    trained = {}

    def whole(model, prepared, config):
        trained.update(model=model.eval(), images=prepared.pairs.images)
        return own(model, prepared, config)

    own = module.whole
    monkeypatch.setattr(module, "whole", whole)
    config = FitConfig(views=VIEWS, n_components=4, n_dims=8, max_epochs=3)
    model, _ = fit_bleep(values, slides, config=config, show_progress_bar=False)
    with torch.inference_mode():
        image, expression = trained["model"](torch.from_numpy(trained["images"]), torch.from_numpy(values.expression))
        np.testing.assert_allclose(embed_images(model, values.images, slides), image.numpy(), atol=1e-4)
        torch.testing.assert_close(model.embed_expression(torch.from_numpy(values.expression)), expression)
    assert model.views == VIEWS


def test_features_that_vary_on_no_slide_are_refused(pairs):
    values, slides = pairs
    flat = Pairs(np.ones_like(values.images) * (slides == "a")[:, None].astype(np.float32), values.expression)
    for views in (("raw",), ("aligned",), ("scaled",)):
        with pytest.raises(ValueError, match="None of the 12 image features varies on any slide of the reference"):
            prepare(flat, slides, FitConfig(views=views), 0, Processes())


def test_features_that_vary_on_no_slide_are_as_if_they_were_not_there():
    rng = np.random.default_rng(0)
    images, expression = (rng.normal(size=(90, n)).astype(np.float32) for n in (6, 4))
    groups = np.repeat(["a", "b", "c"], 30)
    scanner = (groups != "a").astype(np.float32)[:, None] * 50
    config = FitConfig(max_epochs=3, n_dims=8, views=("raw", "components", "aligned", "scaled"), n_components=4)
    how = {"config": config, "show_progress_bar": False}
    without, _ = fit_bleep(Pairs(images, expression), groups, **how)
    more = np.concatenate([images[:, :2], scanner, images[:, 2:]], axis=1)
    beside, _ = fit_bleep(Pairs(more, expression), groups, **how)
    np.testing.assert_allclose(
        embed_images(beside, more, groups), embed_images(without, images, groups), rtol=1e-4, atol=1e-5
    )
