import numpy as np
import pytest
import torch

from bleep_sc.models.alignment import Alignment
from bleep_sc.models.bleep import BLEEP
from bleep_sc.models.embed import embed_images, embed_some
from bleep_sc.models.slide_scale import SlideScale
from bleep_sc.training.alignment import learn_alignment

N_DIMS = 8


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(150, 6)) + 2 * rng.integers(0, 2, size=(150, 1))
    return values.astype(np.float32), np.repeat(["a", "b", "c"], 50)


def model_of(features, slides, views):
    """A model with random weights that knows how features of these slides are seen."""
    torch.manual_seed(0)
    model = BLEEP(6, 4, n_dims=N_DIMS, n_models=len(views), views=views).eval()
    scale, alignment = SlideScale.of(features, slides), learn_alignment(features, slides)
    buffers = {"feature_mean": scale.mean, "feature_std": scale.std}
    buffers |= {f"alignment_{name}": array for name, array in vars(alignment).items()}
    known = {name: torch.from_numpy(array) for name, array in buffers.items() if hasattr(model, name)}
    model.load_state_dict({**model.state_dict(), **known})
    return model, scale, alignment


def by_head(model, prepared):
    with torch.inference_mode():
        parts = [head(torch.from_numpy(each)) for head, each in zip(model.image_heads, prepared, strict=True)]
    return torch.cat(parts, dim=1).numpy()


def test_every_head_sees_features_in_its_own_view(features):
    values, slides = features
    views = ("aligned", "raw", "scaled", "components", "aligned")
    model, scale, alignment = model_of(values, slides, views)
    scaled, aligned = scale.apply(values, slides), alignment.apply(values, slides)
    expected = by_head(model, [aligned, values, scaled, values, aligned])
    found = embed_images(model, values, slides)
    assert found.shape == (150, 5 * N_DIMS)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    rows = np.array([3, 120])
    np.testing.assert_allclose(embed_some(model, values, slides, rows), expected[rows], atol=1e-5)


@pytest.mark.parametrize(
    ("views", "depends"),
    [(("raw",), False), (("components", "raw"), False), (("aligned",), True), (("raw", "scaled"), True)],
)
def test_only_views_of_a_slide_depend_on_its_other_spots(features, views, depends):
    values, slides = features
    model, _, _ = model_of(values, slides, views)
    assert model.depends_on_slide == depends
    whole, alone = embed_images(model, values, slides), embed_images(model, values[:5], slides[:5])
    assert np.allclose(whole[:5], alone, atol=1e-5) != depends
    np.testing.assert_allclose(embed_some(model, values, slides, np.arange(5)), whole[:5], atol=1e-5)
    if not depends:
        return
    stained = values.copy()
    stained[slides == "a"] += 1
    other = embed_images(model, stained, slides)
    np.testing.assert_allclose(other[slides != "a"], whole[slides != "a"], atol=1e-5)


def test_what_a_model_knows_of_views_is_part_of_its_weights(features):
    values, slides = features
    model, _, alignment = model_of(values, slides, ("aligned", "scaled"))
    copy = BLEEP(6, 4, n_dims=N_DIMS, n_models=2, views=["aligned", "scaled"]).eval()
    copy.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(embed_images(copy, values, slides), embed_images(model, values, slides))
    assert isinstance(alignment, Alignment)
    raw = BLEEP(6, 4, n_models=2)
    assert raw.views == ("raw", "raw")
    assert not [name for name in raw.state_dict() if name.startswith(("feature", "alignment"))]


@pytest.mark.parametrize("views", [("raw",), ("raw", "whitened"), ("raw",) * 3])
def test_views_that_are_not_those_of_the_heads_are_refused(views):
    with pytest.raises(ValueError, match=r"must name 2 of \('raw', 'components', 'aligned', 'scaled'\), one a pair"):
        BLEEP(6, 4, n_models=2, views=views)
