import itertools

import torch

from bleep_sc.models import symmetries


def test_there_are_eight_and_they_differ():
    image = torch.arange(9).reshape(1, 1, 3, 3)
    views = [symmetries.transform(image, k) for k in range(symmetries.N_SYMMETRIES)]
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(views, 2))


def test_they_are_closed_under_flips_and_turns():
    image = torch.arange(9).reshape(1, 1, 3, 3)
    views = [symmetries.transform(image, k) for k in range(symmetries.N_SYMMETRIES)]
    for view in views:
        for moved in (view.flip(-1), view.flip(-2), torch.rot90(view, 1, dims=(-2, -1))):
            assert any(torch.equal(moved, each) for each in views)


def test_augmentation_draws_every_symmetry_about_as_often_and_is_seeded():
    image = torch.arange(9).reshape(1, 1, 3, 3).repeat(4000, 1, 1, 1)
    drawn = symmetries.augment(image, torch.Generator().manual_seed(0))
    again = symmetries.augment(image, torch.Generator().manual_seed(0))
    assert torch.equal(drawn, again)
    for k in range(symmetries.N_SYMMETRIES):
        share = (drawn == symmetries.transform(image, k)).flatten(1).all(dim=1).float().mean()
        assert abs(float(share) - 1 / 8) < 0.02
