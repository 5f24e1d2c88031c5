"""Folds in which the held-out expression is out of reach: the query of a fold has none."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scanpy as sc
from anndata import AnnData

from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_layer, require_obs, require_unique_genes
from bleep_sc._adata.expression import holds_counts
from bleep_sc._adata.libraries import library_column, written_libraries
from bleep_sc._adata.places import centers_px, spatial_slot
from bleep_sc._adata.records import feature_recipe, patch_recipe, require_one_field
from bleep_sc._output.messages import listed
from bleep_sc.bm._origins import check_origins
from bleep_sc.bm._shown import lattice, pictures, recorded
from bleep_sc.pp import select_genes

if TYPE_CHECKING:
    from numpy.typing import NDArray

TARGET_SUM = 1e4
MIN_SPOTS = 10


@dataclass(frozen=True)
class Fold:
    """One group held out."""

    group: str
    train: AnnData
    """The other groups: log-normalised, with counts in ``layers["counts"]`` and genes chosen on them alone."""
    query: AnnData
    """The held-out group: image, positions and features; no expression, and nothing that was computed from it."""

    @property
    def panel(self) -> list[str]:
        """The genes to predict, in the order of ``train``."""
        return self.train.var_names[self.train.var[keys.HIGHLY_VARIABLE]].tolist()


@dataclass(frozen=True)
class Split:
    """What is compared: spots with counts, their groups and slides, and what a method may see of them."""

    adata: AnnData
    counts: Any
    """(n_spots, n_genes), sparse or dense."""
    groups: NDArray[np.str_]
    slides: NDArray[np.str_]
    obsm: dict[str, str]
    """What a method may see of obsm: its key there, and in ``adata``."""
    lattice: dict[str, NDArray[np.float64]]
    """Where spots are on the array, by the name of the column."""
    n_top_genes: int | None
    """Most variable genes of each training slide; None predicts every gene that the training groups have."""
    markers: tuple[str, ...]
    """Genes that are predicted whether they were chosen or not, where a training spot has them."""
    donors: Mapping[str, str] | None = None
    """Whose tissue a slide is, where that is known."""

    def names(self) -> list[str]:
        """Return the groups, in the order of the data."""
        return list(dict.fromkeys(self.groups.tolist()))

    def fold(self, group: str) -> Fold:
        """Hold one group out."""
        held_out = self.groups == group
        counts = self.counts[~held_out]
        # A gene that no training spot has is as unknown as one that was never measured.
        seen = np.asarray((counts > 0).sum(axis=0)).ravel() > 0
        train = self._part(~held_out, self.adata.var_names[seen], counts[:, seen])
        if self.n_top_genes is None:
            train.var[keys.HIGHLY_VARIABLE] = True
        else:
            select_genes(train, batch_key=keys.LIBRARY, n_top_genes=self.n_top_genes)
            train.var[keys.HIGHLY_VARIABLE] |= train.var_names.isin(self.markers)
        return Fold(group, train, self._part(held_out, train.var_names))

    def truth(self, group: str, panel: Sequence[str]) -> AnnData:
        """Return the held-out group as measured, for the panel: log-normalised ``X``, and ``layers["counts"]``.

        Spots are normalised by all their counts, not by those of the panel.
        """
        held_out = self.groups == group
        whole = self._part(held_out, self.adata.var_names, self.counts[held_out])
        whole.obs[keys.TOTAL_COUNTS] = np.asarray(whole.layers[keys.COUNTS].sum(axis=1)).ravel()
        return whole[:, list(panel)].copy()

    def array(self, key: str) -> NDArray[Any]:
        """Return what a method sees in obsm, of all spots; coordinates are (x, y) and no more."""
        if key == keys.SPATIAL:
            return centers_px(self.adata, self.obsm[key])
        return np.asarray(self.adata.obsm[self.obsm[key]])

    def images(self) -> dict[str, dict[str, Any]]:
        """Return the pictures that a method may see, by slide and name."""
        return {name: record["images"] for name, record in self._uns(self.slides)[keys.SPATIAL].items()}

    def _part(self, rows: NDArray[np.bool_], genes: pd.Index, counts: Any = None) -> AnnData:
        """Return some spots as a method may see them, with their expression where it is given as counts."""
        part = AnnData(
            None if counts is None else counts.astype(np.float32),
            obs=self._obs(rows),
            var=pd.DataFrame(index=genes.copy()),
            obsm={key: self.array(key)[rows] for key in self.obsm},
            uns=self._uns(self.slides[rows]),
        )
        if counts is not None:
            part.layers[keys.COUNTS] = part.X.copy()
            sc.pp.normalize_total(part, target_sum=TARGET_SUM)
            sc.pp.log1p(part)
        return part

    def _obs(self, rows: NDArray[np.bool_]) -> pd.DataFrame:
        columns = {keys.LIBRARY: pd.Categorical(self.slides[rows])}
        if self.donors is not None:
            columns[keys.DONOR] = pd.Categorical([self.donors[slide] for slide in self.slides[rows].tolist()])
        columns |= {name: places[rows] for name, places in self.lattice.items()}
        return pd.DataFrame(columns, index=self.adata.obs_names[rows].copy())

    def _uns(self, slides: NDArray[np.str_]) -> dict[str, Any]:
        """Return what belongs to these slides alone: their pictures, and how patches and features were made."""
        own = set(slides.tolist())
        library = self.adata.uns.get(keys.SPATIAL, {})
        records = {key: self.adata.uns.get(key) for key in self.obsm if key != keys.SPATIAL}
        return {
            keys.SPATIAL: {name: pictures(library[name]) for name in library if name in own},
            **{key: recorded(record, own) for key, record in records.items() if isinstance(record, Mapping)},
        }


def split(
    adata: AnnData,
    group_key: str,
    *,
    use_rep: Sequence[str],
    patches_key: str,
    layer: str | None,
    library_key: str | None,
    n_top_genes: int | None,
    markers: Sequence[str] = (),
) -> Split:
    """Check what is to be compared, and prepare its folds."""
    require_unique_genes(adata)
    if not adata.obs_names.is_unique:
        raise ValueError("adata.obs_names are not unique. Run adata.obs_names_make_unique() first.")
    is_there = layer is None or layer in adata.layers  # else all layers are looked at
    counts = require_layer(adata, layer, "Pass layer=." if is_there else _where_counts_are(adata))
    if not holds_counts(counts):
        name = "adata.X" if layer is None else f"layers[{layer!r}]"
        raise ValueError(f"{name} holds no raw counts, from which every fold is normalised. {_where_counts_are(adata)}")
    empty = int((np.asarray(counts.sum(axis=1)).ravel() == 0).sum())
    if empty:
        raise ValueError(f"{empty} spots have no counts. Drop them: sc.pp.filter_cells(adata, min_counts=100).")
    column = require_obs(adata, group_key, "Pass group_key=, the column that names what is held out.")
    if column.isna().any():
        raise ValueError(f"obs[{group_key!r}] is missing for {int(column.isna().sum())} spots.")
    groups, slides = column.astype(str).to_numpy(dtype=str), written_libraries(adata, library_key)
    _check_groups(groups, slides, group_key, library_column(adata, library_key))
    check_origins(adata, use_rep)
    _check_fields_of_view(adata, use_rep, patches_key)
    absent = [gene for gene in markers if gene not in adata.var_names]
    if absent:
        raise KeyError(f"markers={listed(absent)} are not in adata.var_names (it has: {listed(adata.var_names, 3)}).")
    visible = _visible(adata, use_rep, patches_key)
    return Split(adata, counts, groups, slides, visible, lattice(adata), n_top_genes, tuple(markers))


def _where_counts_are(adata: AnnData) -> str:
    """Say what to pass for the layer."""
    layers = [name for name in adata.layers if name is not None and holds_counts(adata.layers[name])]
    if adata.X is not None and holds_counts(adata.X):
        return "Leave layer= out: the counts are in adata.X."
    if layers:
        return f"Pass layer={layers[0]!r}, which holds counts."
    return "Pass layer=, the layer with counts; none of those that are there holds any."


def _check_groups(groups: NDArray[np.str_], slides: NDArray[np.str_], group_key: str, library_key: str) -> None:
    for key, names in ((group_key, groups), (library_key, slides)):
        _check_names(key, np.unique(names).tolist())
    if len(np.unique(groups)) < 2:
        raise ValueError(f"obs[{group_key!r}] has one group, {str(groups[0])!r}: nothing would be left to train on.")
    homes = pd.crosstab(slides, groups)
    torn = homes.index[(homes > 0).sum(axis=1) > 1].tolist()
    if torn:
        raise ValueError(
            f"Slide {listed(torn)} (obs[{library_key!r}]) has spots in several groups of obs[{group_key!r}]: its "
            "spots would stand on both sides. A group must hold whole slides."
        )
    sizes = homes.sum(axis=1)
    small = [f"{name} ({size})" for name, size in sizes[sizes < MIN_SPOTS].items()]
    if small:
        raise ValueError(
            f"Slides of fewer than {MIN_SPOTS} spots say nothing about a correlation: {listed(small)}. Drop them."
        )


def _check_names(key: str, names: list[str]) -> None:
    """Refuse names that are one and the same to whoever reads them."""
    by_look: dict[str, list[str]] = {}
    for name in names:
        looks = "".join(unicodedata.normalize("NFKC", name).split()).casefold()
        number = re.fullmatch(r"0*(\d+?)(\.0*)?", looks)  # of a column that was read as numbers in one file of several
        by_look.setdefault(number[1] if number else looks, []).append(name)
    alike = [alike for alike in by_look.values() if len(alike) > 1]
    if "" in by_look or alike:
        what = f"{listed(alike[0])}, which differ in case, spaces or zeros alone" if alike else f"{by_look[''][0]!r}"
        raise ValueError(
            f"obs[{key!r}] has {what}. Give what is one thing one name: adata.obs[{key!r}].str.strip() ..."
        )


def _check_fields_of_view(adata: AnnData, use_rep: Sequence[str], patches_key: str) -> None:
    """Refuse slides whose patches show more tissue than those of others: no slide would be predicted from another."""
    if patches_key in adata.obsm:
        require_one_field(patch_recipe(adata, patches_key), f"The patches of obsm[{patches_key!r}]")
    for key in use_rep:
        require_one_field(feature_recipe(adata, key), f"The patches behind obsm[{key!r}]")


def _visible(adata: AnnData, use_rep: Sequence[str], patches_key: str) -> dict[str, str]:
    """Return the keys of obsm that a method may see, and where they are: coordinates, patches, features of images."""
    wanted = {keys.SPATIAL: spatial_slot(adata), **{key: key for key in (patches_key, *use_rep)}}
    return {key: place for key, place in wanted.items() if place in adata.obsm}


def folds(data: Split) -> Iterator[Fold]:
    """Hold out one group after another."""
    return (data.fold(group) for group in data.names())
