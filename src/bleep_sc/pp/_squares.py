"""What lies in squares side by side over a slide, summed by spatialdata."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from bleep_sc import slides

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

MOST_POINTS, MOST_SUMS = 1_000_000, 5_000_000
"""Points, and sums (squares × genes), of what spatialdata is given at a time: it holds both in full."""
ON_BORDER = 1e-9
"""How near to a border a point lies on it, in sides of a square."""


@dataclass(frozen=True)
class Squares:
    """Squares that cover a slide without a gap, row by row; all lie on the slide."""

    left: NDArray[np.float64]
    """Borders between columns, px, (n_columns + 1,)."""
    top: NDArray[np.float64]
    """Borders between rows, px, (n_rows + 1,)."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.top) - 1, len(self.left) - 1

    @property
    def side(self) -> float:
        """Side of a square, px."""
        return float(self.left[1] - self.left[0])

    @property
    def centers(self) -> NDArray[np.float64]:
        """Centres (x, y), px, (n_squares, 2)."""
        y, x = np.meshgrid((self.top[1:] + self.top[:-1]) / 2, (self.left[1:] + self.left[:-1]) / 2, indexing="ij")
        return np.column_stack([x.ravel(), y.ravel()])


def squares_of(width: int, height: int, side: float) -> Squares:
    """Return the squares of ``side`` px that fit onto a slide; what is left over is shared out between its borders."""
    if side > min(width, height):
        raise ValueError(f"A square of {side:.4g} px is larger than the image, {width} × {height} px.")
    centers, rows, columns = slides.grid(width, height, side, layout="square")
    left, top = centers[0] - side / 2
    return Squares(left + np.arange(columns.max() + 2) * side, top + np.arange(rows.max() + 2) * side)


def sum_points(places: NDArray[np.float64], genes: pd.Categorical, squares: Squares) -> sparse.csr_matrix:
    """Count the points of every gene in every square: ``places`` (n, 2) px, ``genes`` (n,); (n_squares, n_genes)."""
    n_genes, parts = len(genes.categories), []
    for strip in _strips(places, squares, n_genes):
        parts.append(_counted(strip, genes.codes[strip.points], n_genes, squares))
    return sparse.vstack(parts, format="csr")


def sum_cells(places: NDArray[np.float64], counts: sparse.csr_matrix, squares: Squares) -> sparse.csr_matrix:
    """Sum the counts (n, n_genes) of the cells whose centres, ``places`` (n, 2) px, lie in a square.

    spatialdata says which cells those are, and their counts are added as sparse rows: it would have all of them dense.
    """
    parts = []
    for strip in _strips(places, squares, None):
        n_cells = len(strip.points)
        parts.append(_counted(strip, np.arange(n_cells), n_cells, squares) @ counts[strip.points])
    return sparse.vstack(parts, format="csr", dtype=np.float32)


@dataclass(frozen=True)
class _Strip:
    """Some rows of squares, and what lies in them."""

    first: int
    last: int
    points: NDArray[np.intp]
    """Which of the points, (n,)."""
    places: NDArray[np.float64]
    """Where these are, px, (n, 2)."""


def _strips(places: NDArray[np.float64], squares: Squares, n_genes: int | None) -> Iterator[_Strip]:
    """Part the squares into strips, of as many rows as spatialdata may be given; with None, every point is a gene."""
    n_rows, n_columns = squares.shape
    places = _off_borders(places, squares)
    row = np.searchsorted(squares.top, places[:, 1]) - 1
    on_slide = (row >= 0) & (row < n_rows) & (places[:, 0] > squares.left[0]) & (places[:, 0] < squares.left[-1])
    order = np.flatnonzero(on_slide)[np.argsort(row[on_slide], kind="stable")]
    ends = np.searchsorted(row[order], np.arange(n_rows + 1))
    first = 0
    while first < n_rows:
        n_points = ends[first + 1 :] - ends[first]
        n_sums = np.arange(1, n_rows - first + 1) * n_columns * (n_points if n_genes is None else n_genes)
        last = first + max(1, int(((n_points <= MOST_POINTS) & (n_sums <= MOST_SUMS)).sum()))
        points = order[ends[first] : ends[last]]
        yield _Strip(first, last, points, places[points])
        first = last


def _off_borders(places: NDArray[np.float64], squares: Squares) -> NDArray[np.float64]:
    """Move points that lie on the border of two squares into the right or lower one, else counted in both."""
    steps = (places - [squares.left[0], squares.top[0]]) / squares.side
    on_border = np.abs(steps - np.round(steps)) <= ON_BORDER * np.maximum(1, np.abs(steps))
    return places + np.where(on_border, 1e3 * ON_BORDER * squares.side * np.maximum(1, np.abs(steps)), 0)


def _counted(strip: _Strip, codes: NDArray[np.integer], n_genes: int, squares: Squares) -> sparse.csr_matrix:
    """Count the points of every gene, which ``codes`` (n,) number, in every square of a strip."""
    import geopandas as gpd
    import shapely
    from spatialdata import aggregate
    from spatialdata.models import PointsModel, ShapesModel

    n_squares = (strip.last - strip.first) * squares.shape[1]
    if not len(codes):
        return sparse.csr_matrix((n_squares, n_genes), dtype=np.float32)
    genes = pd.Categorical.from_codes(codes, categories=np.arange(n_genes).astype(str))
    table = pd.DataFrame({"x": strip.places[:, 0], "y": strip.places[:, 1], "gene": genes})
    x, y = np.arange(squares.shape[1]), np.arange(strip.first, strip.last)[:, None]
    boxes = shapely.box(squares.left[x], squares.top[y], squares.left[x + 1], squares.top[y + 1])
    summed = aggregate(
        values=PointsModel.parse(table, coordinates={"x": "x", "y": "y"}, feature_key="gene"),
        by=ShapesModel.parse(gpd.GeoDataFrame(geometry=boxes.ravel())),
        value_key="gene",
        agg_func="sum",
        deepcopy=False,
    )
    matrix = sparse.csr_matrix(summed.tables["table"].X, dtype=np.float32)
    matrix.eliminate_zeros()
    return matrix
