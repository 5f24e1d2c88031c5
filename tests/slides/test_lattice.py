import numpy as np
import pandas as pd
import pytest

from bleep_sc.slides import microns_per_pixel
from bleep_sc.slides._lattice import Lattice, fit_lattice


def visium(pitch=50.0, turn=0.1, noise=0.5):
    row, column = np.mgrid[0:20, 0:30]
    keep = (row + column) % 2 == 0
    row, column = row[keep], column[keep]
    xy = np.column_stack([column * pitch / 2, row * pitch * np.sqrt(3) / 2])
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return column, row, xy @ rotation.T + 300 + noise * np.random.default_rng(0).normal(size=xy.shape)


@pytest.mark.parametrize("turn", [0.0, 0.1, np.pi / 2, 3.0])
def test_visium_is_recognised_however_it_is_turned(turn):
    lattice = fit_lattice(*visium(turn=turn))
    assert lattice.kind == "visium"
    assert lattice.pitch_px == pytest.approx(50, rel=0.002)
    mpp, source = microns_per_pixel(*visium(turn=turn))
    assert mpp == pytest.approx(2.0, rel=0.002)
    assert source == "lattice fit, Visium pitch 100 µm"


@pytest.mark.parametrize(
    ("kind", "column", "row", "pitch"),
    [
        ("square", (3, 0), (0, 5), 4),
        ("unknown", (3, 4), (-12, 5), (5 + 13) / 2),
        ("visium", (3, 0), (0, 4), (6 + 5 + 5) / 3),
        ("visium", (0, 3), (4, 0), (6 + 5 + 5) / 3),
        ("visium", (4, 0), (1, 12), (8 + 13 + np.sqrt(3**2 + 12**2)) / 3),  # sheared: three neighbours, three distances
    ],
)
def test_the_pitch_is_the_mean_over_directions(kind, column, row, pitch):
    steps = np.array(column, dtype=np.float64), np.array(row, dtype=np.float64)
    assert Lattice(*steps, kind=kind).pitch_px == pytest.approx(pitch)


def test_a_scan_that_is_stretched_has_the_mean_scale():
    row, column = (axis.ravel() for axis in np.mgrid[0:10, 0:12])
    stretched = np.column_stack([column * 78.0 + 7, row * 81.0 - 3])
    lattice = fit_lattice(column, row, stretched)
    np.testing.assert_allclose([*lattice.column, *lattice.row], [78, 0, 0, 81], atol=1e-9)
    assert microns_per_pixel(column, row, stretched, pitch_um=200)[0] == pytest.approx(200 / 79.5)


@pytest.mark.parametrize(
    ("stretch", "alternating", "kind"),
    [
        (1.04, False, "square"),
        (1.06, False, "unknown"),
        (0.96, True, "staggered"),
        (0.94, True, "unknown"),
        (1.04 * np.sqrt(3), True, "visium"),
        (0.94 * np.sqrt(3), True, "unknown"),
        (np.sqrt(3), False, "unknown"),
    ],
)
def test_a_lattice_may_be_stretched_by_a_twentieth(stretch, alternating, kind):
    row, column = (axis.ravel() for axis in np.mgrid[0:10, 0:12])
    kept = (row + column) % 2 == 1 if alternating else slice(None)
    spots = column[kept], row[kept], np.column_stack([column * 50.0, row * 50.0 * stretch])[kept]
    assert fit_lattice(*spots).kind == kind
    with pytest.raises(ValueError, match="pitch_um=0 must be positive"):
        microns_per_pixel(*spots, pitch_um=0)


def off_the_lattice(x, y, column_px=50.0, row_px=50.0):
    """Spots that lie off a lattice by (x, y) px, to either side in turn, which no other lattice follows."""
    row, column = (axis.ravel() for axis in np.mgrid[0:10, 0:12])
    side = np.where((row + column) % 2, -1, 1)
    return column, row, np.column_stack([column * column_px + side * x, row * row_px + side * y])


def test_spots_off_by_more_than_a_quarter_of_the_shorter_step_are_refused():
    assert fit_lattice(*off_the_lattice(0, 12, row_px=100.0)).column[0] == pytest.approx(50)
    for off in ((0, 13), (5, 12)):
        with pytest.raises(ValueError, match=r"spots lie 13.0 px off a lattice with steps of 50.0 px"):
            fit_lattice(*off_the_lattice(*off, row_px=100.0))


@pytest.mark.parametrize("far", [500.0, 5000.0, 1e7])
def test_a_few_stray_spots_do_not_move_the_lattice_of_the_others(far):
    column, row, xy = off_the_lattice(0, 0)
    xy[[7, 50]] += far
    lattice = fit_lattice(column, row, xy)
    np.testing.assert_allclose([lattice.column, lattice.row], [[50, 0], [0, 50]], atol=1e-6)
    assert (lattice.n_stray, lattice.most_px) == (2, pytest.approx(far * np.sqrt(2)))
    xy[::10] += far  # too many
    with pytest.raises(ValueError, match="do not fit the coordinates"):
        fit_lattice(column, row, xy)


def test_half_of_the_spots_give_the_same():
    column, row, xy = visium()
    half = np.random.default_rng(0).permutation(len(row))[: len(row) // 2]
    assert microns_per_pixel(column[half], row[half], xy[half])[0] == pytest.approx(2.0, rel=0.005)


@pytest.mark.parametrize(("n", "step", "pitch_um", "mpp"), [
    (12, 80.0, 200, 2.5),  # original Spatial Transcriptomics
    (30, 12.8, 16, 1.25),  # a corner of Visium HD
    (30, 100 / 0.2125, 100, 0.2125),  # pseudo-spots of Xenium
    (35, 40.0, 20, 0.5),  # DBiT
    (60, 16.0, 8, 0.5),
])  # fmt: skip
def test_squares_of_every_technology_look_alike(n, step, pitch_um, mpp):
    row, column = (axis.ravel() for axis in np.mgrid[0:n, 0:n])
    spatial = np.column_stack([column * step, row * step])
    assert fit_lattice(column, row, spatial).kind == "square"
    with pytest.raises(ValueError, match=r"kind 'square', whose pitch is not known; pass pitch_um= \(200 for original"):
        microns_per_pixel(column, row, spatial)
    given = microns_per_pixel(column, row, spatial, pitch_um=pitch_um)
    assert given == (pytest.approx(mpp), f"lattice fit, pitch {pitch_um} µm given")


@pytest.mark.parametrize("off", [(0, 128), (224, 0), (0, -2)])
def test_hexagons_that_no_slide_of_visium_has_are_not_taken_for_them(off):
    column, row, xy = visium()
    assert fit_lattice(column + off[0], row + off[1], xy).kind == "unknown"
    assert fit_lattice(column + 194, row + 108, xy).kind == "visium"  # the last places of 11 mm


def test_an_unknown_lattice_needs_a_pitch():
    row, column = (axis.ravel() for axis in np.mgrid[0:10, 0:12])
    keep = (row + column) % 2 == 0
    row, column = row[keep], column[keep]
    with pytest.raises(ValueError, match=r"lattice of kind 'staggered', whose pitch is not known; pass pitch_um="):
        microns_per_pixel(column, row, np.column_stack([column * 80.0, row * 80.0]))
    with pytest.raises(ValueError, match="kind 'unknown'"):
        microns_per_pixel(column, row, np.column_stack([column * 80.0, row * 130.0]))


def test_too_little_for_a_lattice_is_said():
    with pytest.raises(ValueError, match="at least 4 spots"):
        fit_lattice([0, 1, 2], [0, 0, 1], np.zeros((3, 2)))
    with pytest.raises(ValueError, match="at least 4 spots in more than one array_row"):
        fit_lattice(np.arange(8), np.zeros(8), np.column_stack([np.arange(8), np.zeros(8)]))
    with pytest.raises(ValueError, match="must be finite"):
        fit_lattice([0, 1, np.nan, 1], [0, 0, 1, 1], np.zeros((4, 2)))


def test_shuffled_coordinates_do_not_pass_as_a_lattice():
    column, row, xy = visium()
    with pytest.raises(ValueError, match="do not fit the coordinates"):
        fit_lattice(column, row, np.random.default_rng(0).permutation(xy))


def test_a_real_visium_folder(data_folder):
    spots = pd.read_csv(data_folder / "visium_cytassist" / "spatial" / "tissue_positions.csv")
    spatial = spots[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy()
    lattice = fit_lattice(spots["array_col"], spots["array_row"], spatial)
    assert lattice.kind == "visium"
    assert lattice.pitch_px == pytest.approx(21.378, rel=0.003)
    # The spot diameter of this folder is 14.965 px, or 70 µm: 55 µm would be wrong by a fifth.
    assert 14.965 * microns_per_pixel(spots["array_col"], spots["array_row"], spatial)[0] == pytest.approx(
        70, rel=0.003
    )


def test_a_mirrored_lattice_is_told_from_a_turned_one():
    column, row, xy = visium(turn=2.0)
    assert not fit_lattice(column, row, xy).is_mirrored
    assert fit_lattice(column, row, xy[:, ::-1]).is_mirrored
