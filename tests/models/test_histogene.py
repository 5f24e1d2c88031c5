import numpy as np
import pytest
import torch

from bleep_sc.models.histogene import Attention, HisToGene, nearest_spots, predict, windows


@pytest.fixture
def section():
    """Patches and array positions of a section, 6 rows of 7 spots in random order."""
    rng = np.random.default_rng(0)
    positions = np.stack(np.meshgrid(np.arange(6), np.arange(7), indexing="ij"), axis=-1).reshape(-1, 2)
    return rng.integers(0, 256, (42, 8, 8, 3), dtype=np.uint8), rng.permutation(positions)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return HisToGene(8, 5, n_positions=9, n_dims=16, n_layers=2, n_heads=4, scale_pixels=True).eval()


def sections_of(patches, name="a"):
    return np.full(len(patches), name)


def test_the_published_size():
    with torch.device("meta"):
        model = HisToGene(112, 785)
    patch, positions = 112 * 112 * 3 * 1024 + 1024, 2 * 64 * 1024
    attention = 2 * 1024 + 3 * 1024 * 16 * 64 + (16 * 64 * 1024 + 1024)  # norm; queries, keys and values; output
    perceptron = 2 * 1024 + (1024 * 2048 + 2048) + (2048 * 1024 + 1024)
    head = 2 * 1024 + (1024 * 785 + 785)
    by_hand = patch + positions + 8 * (attention + perceptron) + head
    assert by_hand == 106_648_337
    assert sum(parameter.numel() for parameter in model.parameters()) == by_hand


def test_attention_equals_its_formula():
    torch.manual_seed(0)
    attention, tokens = Attention(12, 3, dropout=0.5).eval(), torch.randn(1, 5, 12)
    joint = tokens[0] @ attention.queries_keys_values.weight.T
    heads = []
    for head in range(3):
        q, k, v = (joint[:, 12 * part + 4 * head : 12 * part + 4 * head + 4] for part in range(3))
        heads.append(torch.softmax(q @ k.T / 4**0.5, dim=1) @ v)
    expected = torch.cat(heads, dim=1) @ attention.out.weight.T + attention.out.bias
    torch.testing.assert_close(attention(tokens)[0], expected)


def test_pixels_enter_raw_as_published_or_scaled(section):
    patches, positions = (torch.from_numpy(array)[None] for array in section)
    for scale_pixels, pixels in ((False, patches.double()), (True, patches.double() / 63.75 - 2)):
        torch.manual_seed(0)
        model = HisToGene(8, 5, n_dims=16, n_layers=1, n_heads=2, scale_pixels=scale_pixels)
        model.patch_embedding = torch.nn.Identity()
        model.row_embedding = model.column_embedding = torch.nn.Embedding(64, 192, _weight=torch.zeros(64, 192))
        model.dropout, model.layers, model.norm, model.head = (torch.nn.Identity() for _ in range(4))
        torch.testing.assert_close(model(patches, positions).double(), pixels.flatten(2), atol=1e-5, rtol=1e-5)


def test_rows_and_columns_have_tables_of_their_own(model, section):
    patches, positions = section
    before = predict(model, patches, positions=positions, sections=sections_of(patches), config={"max_spots": None})
    swapped = predict(
        model,
        patches,
        positions=np.ascontiguousarray(positions[:, ::-1]),
        sections=sections_of(patches),
        config={"max_spots": None},
    )
    assert not np.allclose(before, swapped, atol=1e-3)
    with torch.no_grad():
        model.row_embedding.weight.zero_()
        model.column_embedding.weight.zero_()
    without = predict(model, patches, positions=positions, sections=sections_of(patches), config={"max_spots": None})
    np.testing.assert_array_equal(
        predict(model, patches, positions=positions + 2, sections=sections_of(patches), config={"max_spots": None}),
        without,
    )
    assert not np.allclose(before, without, atol=1e-3)


@pytest.mark.parametrize("max_spots", [None, 10])
def test_the_order_of_the_spots_does_not_matter(model, section, max_spots):
    patches, positions = section
    order = np.random.default_rng(1).permutation(len(patches))
    expected = predict(
        model, patches, positions=positions, sections=sections_of(patches), config={"max_spots": max_spots}
    )
    permuted = predict(
        model,
        patches[order],
        positions=positions[order],
        sections=sections_of(patches),
        config={"max_spots": max_spots},
    )
    np.testing.assert_allclose(permuted, expected[order], atol=1e-5)


def test_sections_are_read_each_for_itself(model, section):
    patches, positions = section
    half = np.arange(42) < 20
    names = np.where(half, "a", "b")
    together = predict(model, patches, positions=positions, sections=names, config={"max_spots": None})
    for rows in (half, ~half):
        apart = predict(
            model,
            patches[rows],
            positions=positions[rows],
            sections=sections_of(patches[rows]),
            config={"max_spots": None},
        )
        np.testing.assert_allclose(together[rows], apart, atol=1e-5)
    assert not np.allclose(
        together,
        predict(model, patches, positions=positions, sections=sections_of(patches), config={"max_spots": None}),
        atol=1e-3,
    )


def test_a_window_holds_the_nearest_spots(section):
    _, positions = section
    center = int(np.flatnonzero((positions == [2, 3]).all(axis=1))[0])
    nearest = nearest_spots(positions, center, 5)
    assert nearest[0] == center
    assert sorted(map(tuple, positions[nearest])) == [(1, 3), (2, 2), (2, 3), (2, 4), (3, 3)]


@pytest.mark.parametrize("max_spots", [1, 4, 10, 41, 42, None])
def test_windows_cover_a_section(section, max_spots):
    _, positions = section
    covered = list(windows(positions, max_spots))
    assert all(len(window) == len(np.unique(window)) == min(max_spots or 42, 42) for window in covered)
    assert set(np.concatenate(covered)) == set(range(42))
    assert len(list(windows(np.zeros((9, 2), dtype=int), 4))) >= 3  # spots on one place


def test_a_spot_in_several_windows_gets_the_mean(model, section):
    patches, positions = section
    predictions = [[] for _ in range(42)]
    for window in windows(positions, 10):
        with torch.no_grad():
            output = model(torch.from_numpy(patches[window])[None], torch.from_numpy(positions[window])[None])[0]
        for spot, values in zip(window, output.numpy(), strict=True):
            predictions[spot].append(values)
    assert max(map(len, predictions)) > 1
    expected = np.array([np.mean(values, axis=0) for values in predictions])
    result = predict(model, patches, positions=positions, sections=sections_of(patches), config={"max_spots": 10})
    np.testing.assert_allclose(result, expected, atol=1e-6)
