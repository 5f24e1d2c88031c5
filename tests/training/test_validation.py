import numpy as np

from bleep_sc.training.validation import units_to_hold_out


def lattice(n):
    return np.stack(np.meshgrid(np.arange(n), np.arange(n)), axis=-1).reshape(-1, 2) * 100.0


def test_one_slide_is_cut_into_five_parts_of_neighbours():
    centers = lattice(20)
    slides = np.full(len(centers), "a")
    parts = units_to_hold_out(slides, None, centers_um=centers, random_state=3)
    names, counts = np.unique(parts, return_counts=True)
    assert len(names) == 5
    assert counts.min() > 0.5 * len(centers) / 5
    means = np.stack([centers[parts == name].mean(axis=0) for name in names])
    nearest = names[((centers[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)]
    assert (parts == nearest).mean() > 0.99
    np.testing.assert_array_equal(parts, units_to_hold_out(slides, {"a": "A"}, centers_um=centers, random_state=3))


def test_several_slides_few_spots_and_unknown_places_are_not_cut():
    centers = lattice(10)
    slides = np.repeat(["a", "b"], 50)
    for donors, expected in (
        (None, slides),
        ({"a": "A", "b": "A"}, slides),
        ({"a": "A", "b": "B"}, np.char.upper(slides)),
    ):
        np.testing.assert_array_equal(units_to_hold_out(slides, donors, centers_um=centers), expected)
    alone = np.full(100, "a")
    np.testing.assert_array_equal(units_to_hold_out(alone, None), alone)
    np.testing.assert_array_equal(units_to_hold_out(alone[1:], None, centers_um=centers[1:]), alone[1:])
