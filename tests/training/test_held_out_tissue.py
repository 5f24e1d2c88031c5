import numpy as np

from bleep_sc.models.known_tissue import KnownTissue
from bleep_sc.training.held_out_tissue import learn_typicality


def test_percentiles_are_those_of_slides_that_were_held_out():
    rng = np.random.default_rng(0)
    slides = np.repeat(["a", "b", "c"], [50, 80, 60])
    features = rng.normal(size=(190, 6)).astype(np.float32) + 0.7 * np.searchsorted(["a", "b", "c"], slides)[:, None]

    def around(values):
        return values

    distances = [
        KnownTissue.fit(features, around, slides != slide, 0).distance(features, around)[slides == slide]
        for slide in "abc"
    ]
    known = learn_typicality(features, slides, around)
    np.testing.assert_allclose(
        known.percentiles, np.quantile(np.concatenate(distances), np.linspace(0, 1, 201)), rtol=1e-5
    )
    whole = KnownTissue.fit(features, around, np.ones(190, dtype=bool), 0)
    np.testing.assert_array_equal(known.distance(features, around), whole.distance(features, around))


def test_whole_donors_are_left_out():
    rng = np.random.default_rng(0)
    donors = np.tile(["x", "y"], 60)
    features = (rng.normal(size=(120, 5)) + 2 * (donors == "y")[:, None]).astype(np.float32)

    def around(values):
        return values

    distances = [
        KnownTissue.fit(features, around, donors != donor, 0).distance(features, around)[donors == donor]
        for donor in "xy"
    ]
    known = learn_typicality(features, donors, around)
    expected = np.quantile(np.concatenate(distances), np.linspace(0, 1, 201))
    np.testing.assert_allclose(known.percentiles, expected, rtol=1e-5)
