"""The most similar keys so far of every query, while keys pass by in blocks: on the CPU, and on a GPU."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import max_pool1d

GROUP = 16
"""Keys of which the most similar one is found first."""
LAST = 2**31 - 1
"""The highest number that a key may have."""


class BestKeys(Protocol):
    """The most similar keys so far; of those that are alike, the ones of lower numbers."""

    def keep(self, rows: slice, similarity: Tensor, offset: int) -> None:
        """Look at the similarity of some queries to keys that are numbered from ``offset`` on, (b or more, n).

        ``n`` is a multiple of :data:`GROUP`; keys that are none are infinitely dissimilar.
        """

    def sorted(self) -> tuple[Tensor, Tensor]:
        """Return similarities and numbers of the keys, int32, best first, (n_queries, n_neighbors) each."""


def best_keys(n_queries: int, n_neighbors: int, device: torch.device) -> BestKeys:
    """Return what keeps keys on a device."""
    return (Numbered if device.type == "cuda" else Ordered)(n_queries, n_neighbors, device)


class Ordered:
    """Of a block only those groups of keys are looked into that hold one of the best: the fewest numbers are touched.

    Which these are has to be known before it goes on, for which a GPU would be waited for.
    """

    def __init__(self, n_queries: int, n_neighbors: int, device: torch.device) -> None:
        self.similarity = torch.full((n_queries, n_neighbors), -torch.inf, device=device)
        self.index = torch.zeros(n_queries, n_neighbors, dtype=torch.int32, device=device)

    def keep(self, rows: slice, similarity: Tensor, offset: int) -> None:
        """Keep what is more similar instead of the least of the best so far.

        What is not below that least is found by the maxima of groups of keys. The best are in the order of the keys,
        which tells which of two that are alike comes first.
        """
        best, index = self.similarity[rows], self.index[rows]
        n_neighbors, width = best.shape[1], similarity.shape[1] // GROUP
        similarity = similarity[: len(best)]
        groups = None
        if width > n_neighbors:
            largest = max_pool1d(similarity.unsqueeze(1), GROUP).squeeze(1)  # (b, width)
            # So many are at least as similar.
            at_least = best if offset else largest.topk(n_neighbors, dim=1, sorted=False).values
            least = at_least.amin(dim=1)
            groups = (largest >= least[:, None]).flatten().nonzero().squeeze(1)
        if groups is None or len(groups) > 4 * n_neighbors * len(best):  # too few keys, or too many that are alike
            values, columns = _first_best(similarity, min(n_neighbors, similarity.shape[1]))
        else:
            members, row = similarity.view(-1, GROUP).index_select(0, groups), groups // width  # (n_groups, GROUP)
            found = (members >= least[row, None]).flatten().nonzero().squeeze(1)
            group, member = found // GROUP, found % GROUP
            column = groups[group] % width * GROUP + member
            values, columns = _side_by_side(row[group], members.flatten()[found], column, len(best))
        columns = columns.int() + offset
        if offset or values.shape[1] < n_neighbors:
            values, columns = torch.cat([best, values], dim=1), torch.cat([index, columns], dim=1)
        best[:], kept = _first_best(values, n_neighbors)
        index[:] = columns.gather(1, kept)

    def sorted(self) -> tuple[Tensor, Tensor]:
        """Return similarities and numbers of the keys, best first."""
        best, order = self.similarity.sort(dim=1, descending=True, stable=True)
        return best, self.index.gather(1, order)


def _first_best(values: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Return the n largest of every row, (b, n), and where they are, in the order in which they stand.

    Of equal values the first ones are taken, which ``topk`` does not promise.
    """
    least = values.topk(n, dim=1, sorted=False).values.amin(dim=1, keepdim=True)
    larger, equal = values > least, values == least
    larger |= equal & (equal.cumsum(dim=1) <= n - larger.sum(dim=1, keepdim=True))
    columns = larger.nonzero()[:, 1].view(len(values), n)
    return values.gather(1, columns), columns


def _side_by_side(row: Tensor, values: Tensor, columns: Tensor, n_rows: int) -> tuple[Tensor, Tensor]:
    """Return values and columns, sorted by row, as one row each, (n_rows, n_most), filled up with -inf."""
    count = torch.bincount(row, minlength=n_rows)
    place = torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row]
    n_most = int(count.max())
    of_rows, columns_of_rows = values.new_full((n_rows, n_most), -torch.inf), columns.new_zeros(n_rows, n_most)
    of_rows[row, place], columns_of_rows[row, place] = values, columns
    return of_rows, columns_of_rows


class Numbered:
    """Similarity and number of a key are one whole number, so that the largest ones are the best, and are unique.

    Of a block the groups of keys with the best maxima are looked into, as many as there are neighbours: what is among
    the best is in one of these. All shapes are known beforehand, and nothing waits for a GPU.
    """

    def __init__(self, n_queries: int, n_neighbors: int, device: torch.device) -> None:
        least = torch.iinfo(torch.int64).min
        self.best = torch.full((n_queries, n_neighbors), least, dtype=torch.int64, device=device)

    def keep(self, rows: slice, similarity: Tensor, offset: int) -> None:
        """Keep what is more similar instead of the least of the best so far."""
        best = self.best[rows]
        n_neighbors, width = best.shape[1], similarity.shape[1]
        similarity = similarity[: len(best)]
        columns = torch.arange(width, device=best.device)
        if width // GROUP > n_neighbors:
            largest = similarity.unflatten(1, (-1, GROUP)).amax(dim=2)  # (b, n_groups)
            groups = _numbers(_numbered(largest, columns[: largest.shape[1]]).topk(n_neighbors, sorted=False).values)
            columns = (groups[:, :, None] * GROUP + columns[:GROUP]).flatten(1)  # (b, n_neighbors * GROUP)
            similarity = similarity.gather(1, columns)
        found = torch.cat([best, _numbered(similarity, columns + offset)], dim=1)
        best.copy_(found.topk(n_neighbors, sorted=False).values)

    def sorted(self) -> tuple[Tensor, Tensor]:
        """Return similarities and numbers of the keys, best first."""
        best = self.best.sort(dim=1, descending=True).values
        return _signed((best >> 32).int()).view(torch.float32), _numbers(best).int()


def _numbered(similarity: Tensor, numbers: Tensor) -> Tensor:
    """Return float32 similarities (b, n) and numbers of keys as int64; it is larger for the lower of two numbers."""
    bits = (similarity + 0.0).view(torch.int32)  # there are two zeros otherwise
    return (_signed(bits).long() << 32) | (LAST - numbers)


def _numbers(numbered: Tensor) -> Tensor:
    return LAST - (numbered & LAST)


def _signed(bits: Tensor) -> Tensor:
    """Return the bits of floats as integers of the same order, or these as the bits of floats."""
    return bits ^ ((bits >> 31) & LAST)
