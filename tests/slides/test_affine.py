import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from bleep_sc.slides import fit_landmarks, transform_points
from bleep_sc.slides._affine import affine_of, scale_of_matrix, stretch_of_matrix

CORNERS = np.array([[0.0, 0.0], [1000.0, 50.0], [900.0, 1200.0], [-40.0, 1100.0], [400.0, 500.0]])


def similarity(degrees, scale, shift, mirrored=False):
    sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    turn = scale * np.array([[cosine, -sine], [sine, cosine]]) @ np.diag([-1.0 if mirrored else 1.0, 1.0])
    return np.vstack([np.column_stack([turn, shift]), [0, 0, 1]])


@settings(max_examples=30, deadline=None)
@given(
    degrees=st.floats(-180, 180),
    scale=st.floats(0.05, 20),
    mirrored=st.booleans(),
    model=st.sampled_from(["similarity", "affine"]),
)
def test_a_known_map_is_found(degrees, scale, mirrored, model):
    matrix = similarity(degrees, scale, [300.0, -70.0], mirrored)
    fit = fit_landmarks(CORNERS, transform_points(CORNERS, matrix), model=model, reflection=mirrored)
    np.testing.assert_allclose(fit.matrix, matrix, rtol=1e-9, atol=1e-7 * max(scale, 1))
    assert fit.residual_px.max() < 1e-6 * max(scale, 1)
    assert fit.left_out_px.max() < 1e-6 * max(scale, 1)
    assert scale_of_matrix(fit.matrix) == pytest.approx(scale)
    assert stretch_of_matrix(fit.matrix) == pytest.approx(1)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_similarity_is_the_one_of_least_squares(mirrored):
    rng = np.random.default_rng(0)
    target = transform_points(CORNERS, similarity(40, 0.5, [10, 20], mirrored)) + rng.normal(0, 8, CORNERS.shape)
    fit = fit_landmarks(CORNERS, target, reflection=mirrored)

    def squares(parameters):
        degrees, scale, *shift = parameters
        return ((transform_points(CORNERS, similarity(degrees, scale, shift, mirrored)) - target) ** 2).sum()

    slow = minimize(
        squares, [38, 0.52, 0, 0], method="Nelder-Mead", options={"maxiter": 5000, "xatol": 1e-9, "fatol": 1e-9}
    )
    assert (fit.residual_px**2).sum() == pytest.approx(slow.fun, rel=1e-6)


def test_an_affine_map_is_the_one_of_least_squares():
    rng = np.random.default_rng(0)
    target = CORNERS @ np.array([[0.9, 0.3], [-0.2, 1.4]]) + 5000 + rng.normal(0, 8, CORNERS.shape)
    matrix = fit_landmarks(CORNERS, target, model="affine").matrix
    off = transform_points(CORNERS, matrix) - target
    np.testing.assert_allclose(np.column_stack([CORNERS, np.ones(5)]).T @ off, 0, atol=1e-6)  # normal equations
    np.testing.assert_array_equal(matrix, affine_of(CORNERS, target))


@pytest.mark.parametrize("model", ["similarity", "affine"])
def test_a_landmark_is_foretold_by_the_others(model):
    rng = np.random.default_rng(1)
    target = transform_points(CORNERS, similarity(10, 2, [0, 0])) + rng.normal(0, 5, CORNERS.shape)
    fit = fit_landmarks(CORNERS, target, model=model)
    for i in range(5):
        kept = np.arange(5) != i
        others = fit_landmarks(CORNERS[kept], target[kept], model=model)
        slow = np.linalg.norm(transform_points(CORNERS[i : i + 1], others.matrix) - target[i])
        assert fit.left_out_px[i] == pytest.approx(slow)
        assert fit.left_out_px[i] > fit.residual_px[i]


def test_too_few_landmarks_to_foretell_one_say_so():
    fit = fit_landmarks(CORNERS[:3], CORNERS[:3] + np.array([[0, 0], [30, 0], [0, 50]]), model="affine")
    assert fit.residual_px.max() < 1e-9  # as wrong as they are
    assert np.isnan(fit.left_out_px).all()
    assert np.isnan(fit.standard_error(CORNERS)).all()


def test_the_standard_error_is_about_how_far_points_are_off():
    """Over many draws of careless landmarks; the jackknife is conservative."""
    rng = np.random.default_rng(0)
    matrix, points = similarity(70, 0.8, [100, 100]), rng.uniform(0, 1000, (40, 2))
    true, said = [], []
    for _ in range(200):
        target = transform_points(CORNERS, matrix) + rng.normal(0, 6, CORNERS.shape)
        fit = fit_landmarks(CORNERS, target)
        true.append(((transform_points(points, fit.matrix) - transform_points(points, matrix)) ** 2).sum(axis=1))
        said.append(fit.standard_error(points) ** 2)
    assert 0.9 < np.sqrt(np.mean(said) / np.mean(true)) < 1.6


def test_the_standard_error_grows_away_from_the_landmarks():
    target = CORNERS + np.random.default_rng(0).normal(0, 5, CORNERS.shape)
    near, far = fit_landmarks(CORNERS, target).standard_error([[450, 550], [9000, 9000]])
    assert far > 5 * near


@pytest.mark.parametrize("model", ["similarity", "affine"])
def test_mirrored_images_are_told_from_others(model):
    mirrored = transform_points(CORNERS, similarity(20, 1.3, [0, 0], mirrored=True))
    with pytest.raises(ValueError, match=r"swapped in one of the two sets, or .* pass reflection=True"):
        fit_landmarks(CORNERS, mirrored, model=model)
    with pytest.raises(ValueError, match=r"reflection=True, but by the landmarks no image is the mirror image"):
        fit_landmarks(CORNERS, CORNERS, model=model, reflection=True)
    with pytest.raises(ValueError, match="x and y"):
        fit_landmarks(CORNERS, CORNERS[:, ::-1], model=model)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("offset", [0.0, 9.0])
def test_the_corners_of_a_square_are_as_good_as_any(offset, mirrored):
    """Of these the best map of the wrong side would shrink everything to a point."""
    square = np.array([[0.0, 0.0], [90.0, 0.0], [0.0, 90.0], [90.0, 90.0]]) + offset
    matrix = similarity(90, 2, [7, 7], mirrored)
    fit = fit_landmarks(square, transform_points(square, matrix), reflection=mirrored)
    np.testing.assert_allclose(fit.matrix, matrix, atol=1e-9)
    with pytest.raises(ValueError, match="reflection=True"):
        fit_landmarks(square, transform_points(square, matrix), reflection=not mirrored)


@pytest.mark.parametrize(
    ("source", "target", "model", "message"),
    [
        (CORNERS[:1], CORNERS[:1], "similarity", r"1 landmarks are too few: model='similarity' needs 2"),
        (CORNERS[:2], CORNERS[:2], "affine", r"too few: model='affine' needs 3.* pass model='similarity'"),
        ([[0, 0], [1, 1], [2, 2], [5, 5]], CORNERS[:4], "affine", "on one line"),
        (CORNERS[:3], [[0, 0], [10, 0], [30, 0]], "affine", "on one line"),
        (CORNERS[:3], CORNERS[:2], "affine", r"shapes \(3, 2\) and \(2, 2\)"),
        (CORNERS[:3], [[0, 0], [10, np.nan], [30, 0]], "affine", "must be finite"),
    ],
)
def test_what_determines_no_map_is_refused(source, target, model, message):
    with pytest.raises(ValueError, match=message):
        fit_landmarks(source, target, model=model)


def test_landmarks_on_a_line_determine_a_similarity():
    line = np.array([[0.0, 0], [100, 100], [300, 300]])
    fit = fit_landmarks(line, transform_points(line, similarity(30, 2, [5, 5])))
    np.testing.assert_allclose(fit.matrix, similarity(30, 2, [5, 5]), atol=1e-9)


def test_the_fit_is_that_of_spatialdata():
    import dask.dataframe as dd
    import pandas as pd
    from spatialdata.models import PointsModel
    from spatialdata.transformations import get_transformation_between_landmarks

    rng = np.random.default_rng(0)
    for mirrored in (False, True):
        target = transform_points(CORNERS, similarity(40, 0.5, [10, 20], mirrored)) + rng.normal(0, 3, CORNERS.shape)
        elements = [
            PointsModel.parse(dd.from_pandas(pd.DataFrame(each, columns=["x", "y"]), npartitions=1))
            for each in (target, CORNERS)
        ]
        theirs = get_transformation_between_landmarks(*elements).to_affine_matrix(("x", "y"), ("x", "y"))
        np.testing.assert_allclose(fit_landmarks(CORNERS, target, reflection=mirrored).matrix, theirs, atol=1e-9)
