from itertools import product

import numpy as np
import pytest
import torch
from scipy.special import erf

from bleep_sc.models.hist2st import GraphLayer, Hist2ST, Mixer, shares_of_neighbors
from bleep_sc.models.histogene import predict

SMALL = {"tile_size": 4, "n_channels": 16, "kernel_size": 3, "n_mixers": 1, "n_layers": 1, "n_graph_layers": 3}
SQUARE = np.stack(np.meshgrid(np.arange(6), np.arange(7), indexing="ij"), axis=-1).reshape(-1, 2)
HEXAGONS = np.array([(row * 3**0.5, column) for row in range(6) for column in range(14) if (row + column) % 2 == 0])


@pytest.fixture
def section():
    """Patches, array positions and centres of a section, 6 rows of 7 spots in random order."""
    rng = np.random.default_rng(0)
    positions = rng.permutation(SQUARE)
    return rng.integers(0, 256, (42, 10, 10, 3), dtype=np.uint8), positions, 290.0 * positions[:, ::-1] + 1000


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = Hist2ST(10, 5, n_heads=2, n_positions=9, scale_pixels=True, **SMALL)
    for norm in (each for each in model.modules() if isinstance(each, torch.nn.BatchNorm2d)):
        torch.nn.init.uniform_(norm.running_mean, -0.5, 0.5)
        torch.nn.init.uniform_(norm.running_var, 0.5, 2)
        torch.nn.init.uniform_(norm.weight, 0.5, 2)
        torch.nn.init.normal_(norm.bias)
    return model.eval()


def run(model, patches, positions, centers, *, max_spots=None, names=None):
    sections = np.full(len(patches), "a") if names is None else names
    return predict(
        model, patches, positions=positions, centers=centers, sections=sections, config={"max_spots": max_spots}
    )


def neighbors(points):
    """Of every spot the others as near as the fourth, up to a tenth, within two steps; in loops."""
    found = []
    far = [sorted(np.hypot(*(a - b)) for j, b in enumerate(points) if j != i) for i, a in enumerate(points)]
    step = np.sort([each[0] for each in far])[(len(points) - 1) // 2] if len(points) > 1 else 0
    for i, a in enumerate(points):
        limit = 1.1 * min(far[i][:4][-1], 2 * step) if far[i] else 0
        found.append([j for j, b in enumerate(points) if j != i and np.hypot(*(a - b)) <= limit] or [i])
    return found


def test_the_published_size():
    with torch.device("meta"):
        model = Hist2ST(112, 785)
    tiles = 3 * 7 * 7 * 32 + 32
    mixer = 2 * (32 * 25 + 32) + (32 * 32 + 32) + 3 * 2 * 32
    narrow, positions = 32 * 4 + 4, 2 * 64 * 1024
    attention = 2 * 1024 + 3 * 1024 * 16 * 64 + (16 * 64 * 1024 + 1024)
    perceptron = 2 * 1024 + 2 * (1024 * 1024 + 1024)
    lstm = 2 * (8 * 1024 * 1024 + 8 * 1024)
    head = 2 * 1024 + (1024 * 785 + 785)
    by_hand = tiles + 2 * mixer + narrow + positions + 8 * (attention + perceptron) + 4 * 1024 * 1024 + lstm + head
    assert by_hand == 72_325_333
    assert sum(parameter.numel() for parameter in model.parameters()) == by_hand
    assert (len(model.mixers), len(model.layers), len(model.graph_layers)) == (2, 8, 4)


@pytest.mark.parametrize("points", [SQUARE, HEXAGONS, 7.3 * SQUARE[:, ::-1], SQUARE[:1], SQUARE[[0, 41]]])
def test_shares_are_those_of_neighbours_in_loops(points):
    expected = np.zeros((len(points), len(points)))
    for i, near in enumerate(neighbors(points)):
        expected[i, near] = 1 / len(near)
    shares = shares_of_neighbors(torch.from_numpy(points.astype(float))[None])[0]
    np.testing.assert_allclose(shares, expected, atol=1e-6)


def test_inside_an_array_neighbours_touch():
    counts = {name: (shares_of_neighbors(torch.from_numpy(each).float()[None])[0] > 0).sum(1) for name, each in
              (("square", SQUARE), ("hexagons", HEXAGONS))}  # fmt: skip
    at = {"square": (SQUARE == [2, 3]).all(1), "hexagons": np.isclose(HEXAGONS, [2 * 3**0.5, 6]).all(1)}
    assert counts["square"][at["square"]].item() == 4
    assert counts["hexagons"][at["hexagons"]].item() == 6
    staggered = np.array(
        [(24.0 * row, 21.6 * column) for row, column in product(range(6), range(8)) if (row + column) % 2 == 0]
    )
    inside = np.isclose(staggered, [48, 86.4]).all(1)
    assert (shares_of_neighbors(torch.from_numpy(staggered)[None])[0] > 0).sum(1)[inside].item() == 4


def test_a_spot_far_from_others_is_its_own_neighbour():
    points = np.vstack([SQUARE, [[30, 30]]]).astype(float)
    shares = shares_of_neighbors(torch.from_numpy(points)[None])[0]
    assert shares[-1, -1] == 1
    assert (shares[:-1, -1] == 0).all()
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-6)
    wobbly = points + np.random.default_rng(0).uniform(-0.02, 0.02, points.shape)  # as spots are found in an image
    np.testing.assert_array_equal(shares_of_neighbors(torch.from_numpy(wobbly)[None])[0], shares)


def numpy_of(module):
    return {name: tensor.detach().numpy() for name, tensor in module.state_dict().items()}


def gelu(x):
    return x * (1 + erf(x / 2**0.5)) / 2


def batch_norm(x, w, name):
    """Of (C, H, W), with running statistics."""
    scale = w[f"{name}.weight"] / np.sqrt(w[f"{name}.running_var"] + 1e-5)
    return (x - w[f"{name}.running_mean"][:, None, None]) * scale[:, None, None] + w[f"{name}.bias"][:, None, None]


def depthwise(x, weight, bias):
    """Loops over channels, rows, columns and the places of the kernel; zeros around."""
    result, half = np.zeros_like(x), weight.shape[-1] // 2
    for c, i, j in np.ndindex(x.shape):
        result[c, i, j] = bias[c]
        for u, v in np.ndindex(weight.shape[-2:]):
            if 0 <= i + u - half < x.shape[1] and 0 <= j + v - half < x.shape[2]:
                result[c, i, j] += weight[c, 0, u, v] * x[c, i + u - half, j + v - half]
    return result


def layer_norm(x, w, name):
    centered = x - x.mean(-1, keepdims=True)
    scale = np.sqrt((centered**2).mean(-1, keepdims=True) + 1e-5)
    return centered / scale * w[f"{name}.weight"] + w[f"{name}.bias"]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_hand(w, patches, positions, centers):
    """Hist2ST in NumPy, spot by spot: a mixer, a transformer layer of two heads, three graph layers."""
    tokens = []
    for patch, (row, column) in zip(patches.astype(float), positions, strict=True):
        pixels = patch / 63.75 - 2
        maps = np.zeros((16, 2, 2))  # of 10 px, with tiles of 4 px
        for c, i, j in np.ndindex(maps.shape):
            tile = pixels[4 * i : 4 * i + 4, 4 * j : 4 * j + 4].transpose(2, 0, 1)
            maps[c, i, j] = (tile * w["tiles.weight"][c]).sum() + w["tiles.bias"][c]
        mixed = maps
        for first in (0, 3):
            name = f"mixers.0.within.{first}"
            mixed = depthwise(mixed, w[f"{name}.weight"], w[f"{name}.bias"])
            mixed = gelu(batch_norm(mixed, w, f"mixers.0.within.{first + 1}"))
        mixed = np.einsum("oc,chw->ohw", w["mixers.0.across.0.weight"][:, :, 0, 0], mixed + maps)
        mixed = gelu(mixed + w["mixers.0.across.0.bias"][:, None, None])
        mixed = batch_norm(mixed, w, "mixers.0.across.2")
        narrow = np.einsum("oc,chw->ohw", w["narrow.weight"][:, :, 0, 0], mixed) + w["narrow.bias"][:, None, None]
        tokens.append(narrow.ravel() + w["row_embedding.weight"][row] + w["column_embedding.weight"][column])
    tokens = np.array(tokens)
    joint = layer_norm(tokens, w, "layers.0.attention_norm") @ w["layers.0.attention.queries_keys_values.weight"].T
    heads = []
    for head in range(2):
        q, k, v = (joint[:, 128 * part + 64 * head : 128 * part + 64 * head + 64] for part in range(3))
        score = np.exp(q @ k.T / 8)
        heads.append(score / score.sum(1, keepdims=True) @ v)
    tokens = tokens + np.hstack(heads) @ w["layers.0.attention.out.weight"].T + w["layers.0.attention.out.bias"]
    wide = layer_norm(tokens, w, "layers.0.perceptron.0") @ w["layers.0.perceptron.1.weight"].T
    wide = gelu(wide + w["layers.0.perceptron.1.bias"])
    tokens = tokens + wide @ w["layers.0.perceptron.4.weight"].T + w["layers.0.perceptron.4.bias"]
    hops, near = [], neighbors(centers)
    for layer in range(3):
        around = np.array([np.mean([tokens[j] for j in each], axis=0) for each in near])
        tokens = np.maximum(around @ w[f"graph_layers.{layer}.linear.weight"].T, 0)
        tokens = tokens / np.maximum(np.linalg.norm(tokens, axis=1, keepdims=True), 1e-12)
        hops.append(tokens)
    for depth in range(2):
        hidden, cell, outputs = 0.0 * hops[0], 0.0 * hops[0], []
        for hop in hops:
            gates = hop @ w[f"lstm.weight_ih_l{depth}"].T + w[f"lstm.bias_ih_l{depth}"]
            gates = gates + hidden @ w[f"lstm.weight_hh_l{depth}"].T + w[f"lstm.bias_hh_l{depth}"]
            enter, forget, value, leave = np.split(gates, 4, axis=1)
            cell = sigmoid(forget) * cell + sigmoid(enter) * np.tanh(value)
            hidden = sigmoid(leave) * np.tanh(cell)
            outputs.append(hidden)
        hops = outputs
    return layer_norm(np.mean(hops, axis=0), w, "norm") @ w["head.weight"].T + w["head.bias"]


def test_it_equals_its_formula_spot_by_spot(model, section):
    model = model.double()
    patches, positions, centers = section
    with torch.no_grad():
        found = model(*(torch.from_numpy(each)[None] for each in section))[0]
    np.testing.assert_allclose(found, by_hand(numpy_of(model), patches, positions, centers), atol=1e-10)


def test_raw_pixels_enter_as_published(section):
    torch.manual_seed(0)
    model, seen = Hist2ST(10, 5, n_heads=1, **SMALL).eval(), []
    model.tiles.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    run(model, *section)
    np.testing.assert_array_equal(seen[0].movedim(1, -1), section[0].astype(np.float32))


def test_a_graph_layer_does_not_see_the_spot_itself():
    torch.manual_seed(0)
    layer, tokens = GraphLayer(4), torch.randn(1, 42, 4)
    shares = shares_of_neighbors(torch.from_numpy(SQUARE).float()[None])
    center = int(np.flatnonzero((SQUARE == [2, 3]).all(1))[0])
    before = layer(tokens, shares)[0]
    changed = tokens.clone()
    changed[0, center] += 1
    moved = (layer(changed, shares)[0] != before).any(dim=1).numpy()
    assert sorted(map(tuple, SQUARE[moved])) == [(1, 3), (2, 2), (2, 4), (3, 3)]


def test_the_shortcut_of_a_mixer_passes_what_the_convolutions_lose():
    mixer, maps = Mixer(8, 3).eval(), torch.randn(2, 8, 4, 4)
    torch.nn.init.zeros_(mixer.within[3].weight)
    torch.nn.init.zeros_(mixer.within[3].bias)
    torch.testing.assert_close(mixer(maps), mixer.across(maps))


@pytest.mark.parametrize("max_spots", [None, 10])
def test_the_order_of_the_spots_does_not_matter(model, section, max_spots):
    order = np.random.default_rng(1).permutation(42)
    expected = run(model, *section, max_spots=max_spots)
    permuted = run(model, *(each[order] for each in section), max_spots=max_spots)
    np.testing.assert_allclose(permuted, expected[order], atol=1e-5)


def test_neither_unit_nor_place_nor_direction_of_the_coordinates_matters(model, section):
    patches, positions, centers = section
    expected = run(model, *section)
    turned = centers @ np.array([[0.6, 0.8], [-0.8, 0.6]]) * 0.01 + 5
    np.testing.assert_allclose(run(model, patches, positions, turned), expected, atol=1e-5)
    elsewhere = np.random.default_rng(0).permutation(centers)
    assert not np.allclose(run(model, patches, positions, elsewhere), expected, atol=1e-3)


def test_sections_are_read_each_for_itself(model, section):
    names = np.where(np.arange(42) < 20, "a", "b")
    together = run(model, *section, names=names)
    for rows in (names == "a", names == "b"):
        np.testing.assert_allclose(together[rows], run(model, *(each[rows] for each in section)), atol=1e-5)


def test_patches_smaller_than_a_tile_are_refused():
    with pytest.raises(ValueError, match="patch_size=6 px is less than a tile of tile_size=7 px"):
        Hist2ST(6, 5)
