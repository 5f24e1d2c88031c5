from dataclasses import FrozenInstanceError, asdict

import pytest

from bleep_sc.training.config import FitConfig


def test_paper_is_the_published_method():
    paper = FitConfig.paper()
    assert (paper.temperature, paper.learning_rate, paper.weight_decay, paper.dropout) == (1.0, 1e-3, 1e-3, 0.1)
    assert (paper.batch_size, paper.max_epochs, paper.n_dims, paper.n_neighbors) == (512, 150, 256, 50)
    assert paper.metric == "cosine"
    assert paper.train_encoder
    assert paper.views == ("raw",)
    assert paper.smoothing_um == 0
    assert paper.soft_targets
    assert (paper.neighbor_weights, paper.validation_fraction) == ("uniform", 0)


def test_it_is_frozen():
    with pytest.raises(FrozenInstanceError):
        FitConfig().dropout = 0.5


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 0),
        ("max_epochs", 0),
        ("n_neighbors", -1),
        ("batch_size", 1),
        ("chunk_size", 0),
        ("dropout", 1.0),
        ("precision", "float16"),
        ("weight_decay", -1),
        ("stain_jitter", 1.0),
        ("metric", "manhattan"),
        ("views", ()),
        ("views", "raw"),
        ("views", ("raw", "whitened")),
        ("neighbor_weights", "softmax"),
        ("validation_fraction", 1.0),
        ("validation_fraction", -0.1),
        ("smoothing_um", -1.0),
        ("smoothing_um", float("inf")),
    ],
)
def test_what_cannot_work_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=f"FitConfig.{field}="):
        FitConfig(**{field: value})


def test_settings_of_an_earlier_version_lack_the_precision():
    before = {name: value for name, value in asdict(FitConfig.paper()).items() if name != "precision"}
    assert FitConfig(**before) == FitConfig.paper()


def test_views_are_a_tuple_whatever_they_came_as():
    assert FitConfig(views=["raw", "raw"]) == FitConfig(views=("raw", "raw"))
    with pytest.raises(ValueError, match=r"names 'whitened'; use some of \('raw', 'components', 'aligned', 'scaled'\)"):
        FitConfig(views=("raw", "whitened"))
    with pytest.raises(ValueError, match=r"must be a tuple, as in views=\('raw',\)\."):
        FitConfig(views="raw")


def test_directions_are_averaged_and_no_distances():
    assert FitConfig(metric="euclidean", smoothing_um=0.0).smoothing_um == 0
    with pytest.raises(ValueError, match=r"smoothing_um=50\.0 averages directions; it needs metric='cosine'"):
        FitConfig(metric="euclidean", smoothing_um=50.0)


def test_stains_are_jittered_only_where_an_encoder_sees_them():
    assert FitConfig(train_encoder=True, stain_jitter=0.2).stain_jitter == 0.2
    with pytest.raises(ValueError, match="stain_jitter changes patches while their encoder is trained"):
        FitConfig(stain_jitter=0.2)
