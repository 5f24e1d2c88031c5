import numpy as np

from bleep_sc.metrics import highest_genes


def test_by_hand():
    values = np.array([[1.0, 5, 0], [3, 5, 9], [0, 4, 4]])
    one = np.array(["a"] * 3)
    assert highest_genes(values, one, by="mean", n_top=2).tolist() == [1, 2]
    assert highest_genes(values, one, by="variance").tolist() == [2, 0, 1]


def test_a_difference_between_slides_is_no_variance():
    random = np.random.default_rng(0)
    values, slides = random.normal(size=(40, 6)), np.repeat(["a", "b"], 20)
    values[:, 4] *= 2
    values[slides == "b", 1] += 10
    assert values.var(axis=0).argmax() == 1
    assert highest_genes(values, slides, by="variance", n_top=1).tolist() == [4]
    expected = (values[:20].var(axis=0) + values[20:].var(axis=0)) / 2
    np.testing.assert_array_equal(highest_genes(values, slides, by="variance"), np.argsort(-expected))
