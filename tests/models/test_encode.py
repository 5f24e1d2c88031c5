import numpy as np
import pytest
import torch

from bleep_sc.models.encode import encode
from bleep_sc.models.encoders import Encoder


class Counting(torch.nn.Module):
    """Mean colour, and how many patches came at once."""

    def forward(self, images):
        self.seen.append(len(images))
        return images.mean(dim=(2, 3))


@pytest.mark.parametrize(("side", "batches"), [(224, [10, 10, 5]), (512, [2] * 12 + [1]), (64, [25])])
def test_batches_on_the_cpu_have_half_a_million_pixels(side, batches, monkeypatch):
    seen = []
    monkeypatch.setattr(Counting, "seen", seen, raising=False)
    patches = np.random.default_rng(0).integers(0, 256, (25, side, side, 3), dtype=np.uint8)
    encoder = Encoder(Counting(), torch.nn.Identity())
    features = encode(encoder, patches, show_progress_bar=False)
    assert seen == batches
    np.testing.assert_allclose(features, patches.mean(axis=(1, 2)) / 255, atol=1e-5)
    np.testing.assert_allclose(encode(encoder, patches, batch_size=4, show_progress_bar=False), features, atol=1e-6)
    assert max(seen[len(batches) :]) == 4
