"""Methods that are fitted on a reference and predict a query: the rows of donors.py, and runs that are kept."""

import hashlib
import re
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from anndata import AnnData
from fields_of_view import FEATURES, ONE_VIEW, STAINS

import bleep_sc as bs
from bleep_sc._output.disk import appears
from bleep_sc.models.slide_scale import SlideScale

DEFAULT_FEATURES = FEATURES
"""What the default preset is meant for."""
FORMER = bs.tl.FitConfig(
    n_dims=256,
    dropout=0.1,
    views=("scaled",),
    n_models=3,
    n_components=256,
    train_encoder=False,
    temperature=4.0,
    learning_rate=1e-3,
    weight_decay=1e-3,
    batch_size=256,
    max_epochs=200,
    stain_jitter=0.0,
    n_neighbors=50,
    metric="cosine",
    regression=True,
    regression_penalty=3.0,
    smoothing_um=0.0,
    cross_fit=True,
)
"""The default until donors were held out, field by field."""
DEFAULT, PUBLISHED = "BLEEP, the default", "BLEEP as published"
SHARE = 0.9
"""Of the measured values, that intervals are to hold."""
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Row:
    """A method: a function of reference, query and seed."""

    predict: Callable[..., Arrays]
    is_random: bool = False
    needs_alignment: bool = False
    of_donors: bool = False
    """Compared on another donor alone: of neighbouring sections the ablation has the numbers."""


class Part:
    """A reference, the query without its expression, and the truth, on the genes that were chosen on the reference."""

    def __init__(self, adata: AnnData, data: str, reference: tuple[str, ...], query: tuple[str, ...]):
        self.ref, self.query = (adata[adata.obs["library_id"].isin(names)].copy() for names in (reference, query))
        if data == "mob":
            self.ref.var["highly_variable"] = np.asarray((self.ref.X > 0).sum(axis=0)).ravel() > 0
        else:
            bs.pp.select_genes(self.ref, batch_key="library_id", n_top_genes=1000)
        self.panel = self.ref.var["highly_variable"].to_numpy()
        self.truth = self.query[:, self.panel].X.toarray()
        self.query.X = None
        for side in (self.ref, self.query):  # in units of their slide, as the former default took features
            for name in FEATURES:
                scale = SlideScale.of(self.ref.obsm[name], slides_of(self.ref))
                side.obsm[in_units(name)] = scale.apply(side.obsm[name], slides_of(side))

    @cached_property
    def known(self) -> np.ndarray:
        """The expression of the reference, (n_reference, n_genes)."""
        return self.ref[:, self.panel].X.toarray()

    @cached_property
    def variable(self) -> np.ndarray:
        """The most variable genes of the reference."""
        return bs.metrics.highest_genes(self.known, slides_of(self.ref), by="variance")

    @cached_property
    def fingerprint(self) -> str:
        """What tells this part, and its features, from others."""
        digest = hashlib.sha256("\n".join([*self.ref.obs_names, *self.query.obs_names, *self.ref.var_names]).encode())
        for side in (self.ref, self.query):
            for name in (*FEATURES, ONE_VIEW, STAINS):
                digest.update(np.ascontiguousarray(side.obsm[name]).tobytes())
        return digest.hexdigest()

    def slides(self) -> Iterator[tuple[str, np.ndarray]]:
        """Return the slides of the query and their spots."""
        names = slides_of(self.query)
        return ((name, np.flatnonzero(names == name)) for name in np.unique(names))


def slides_of(adata: AnnData) -> np.ndarray:
    """Return the slide of every spot."""
    return adata.obs["library_id"].astype(str).to_numpy()


def in_units(name: str) -> str:
    """Return the key of features in units of their slide."""
    return f"{name}_in_units"


def rows(epochs: int | None) -> dict[str, Row]:
    """Return every method by name; fewer epochs are for a quick look."""

    def preset(config: bs.tl.FitConfig) -> bs.tl.FitConfig:
        return config if epochs is None else replace(config, max_epochs=epochs)

    def network(config: bs.tl.FitConfig, use_rep: tuple[str, ...]) -> Row:
        return Row(partial(bleep, config=preset(config), use_rep=use_rep), is_random=True)

    def former(config: bs.tl.FitConfig) -> Row:
        return replace(network(config, FEATURES), of_donors=True)

    fields = {f"field {i + 1}": (name,) for i, name in enumerate(FEATURES)} | {"three fields": FEATURES}
    ridges = {}
    for field, names in fields.items():
        ridges[f"ridge, {field}"] = Row(partial(ridge, use_rep=names))
        ridges[f"ridge, {field}, in units of the slide"] = Row(partial(ridge, use_rep=tuple(map(in_units, names))))
    return {
        "mean of the reference": Row(mean),
        "location copy": Row(location, needs_alignment=True),
        "ridge, stain statistics": Row(partial(ridge, use_rep=(STAINS,))),
        "ridge as in HEST-Bench, one view": Row(partial(hest, use_rep=ONE_VIEW)),
        **ridges,
        PUBLISHED: network(bs.tl.FitConfig.paper(), (ONE_VIEW,)),
        "BLEEP, the former default": former(FORMER),
        "BLEEP, the former default, features as they are": former(replace(FORMER, views=("components",))),
        DEFAULT: network(bs.tl.FitConfig(), DEFAULT_FEATURES),
    }


def mean(part: Part, seed: int) -> Arrays:
    """Predict every spot as the mean of the reference."""
    return {"values": np.tile(part.known.mean(axis=0), (part.query.n_obs, 1))}


def location(part: Part, seed: int) -> Arrays:
    """Copy the same place of the slides of the reference."""
    weights = bs.bm.methods(["location"])["location"](part.ref.copy(), part.query.copy())
    return {"values": weights @ part.known}


def ridge(part: Part, seed: int, *, use_rep: tuple[str, ...]) -> Arrays:
    """Fit a ridge regression whose penalty is tuned on slides left out of the reference."""
    ref, query = part.ref.copy(), part.query.copy()
    bs.tl.fit_ridge(ref, use_rep=list(use_rep))
    bs.tl.predict(query, ref=ref, key="ridge")
    return {"values": query.layers["ridge"][:, part.panel]}


def hest(part: Part, seed: int, *, use_rep: str) -> Arrays:
    """Fit the ridge regression of HEST-Bench, whose penalty is given."""
    return {"values": bs.bm.methods(["hest_ridge"], use_rep=use_rep)["hest_ridge"](part.ref, part.query)}


def bleep(part: Part, seed: int, *, config: bs.tl.FitConfig, use_rep: tuple[str, ...]) -> Arrays:
    """Fit and impute; with what the model says of itself, where slides were held out."""
    ref, query = part.ref.copy(), part.query.copy()
    bs.tl.fit(ref, use_rep=list(use_rep), config=config, random_state=seed, show_progress_bar=False)
    says = config.cross_fit and ref.obs["library_id"].nunique() > 1
    genes = ref.var_names[part.panel].tolist()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* looks unlike the reference")  # how wrong it is there, is measured here
        bs.tl.impute(query, ref=ref, genes=genes, interval=SHARE if says else None)
    found = query[:, part.panel]
    parts = {
        "values": found.layers["bleep"],
        "lower": found.layers.get("bleep_lower"),
        "upper": found.layers.get("bleep_upper"),
        "confidence": found.obs.get("bleep_confidence"),
        "promised": found.var.get("bleep_predictability"),
    }
    return {name: np.asarray(values) for name, values in parts.items() if values is not None}


def run(part: Part, name: str, row: Row, seed: int, folder: Path) -> Arrays:
    """Return what a method predicts, from the folder if it was run before."""
    how = f"{row.predict!r}" if isinstance(row.predict, partial) else row.predict.__name__
    how = re.sub(r" at 0x\w+", "", how)
    digest = hashlib.sha256(f"{bs.__version__} {how} {seed} {part.fingerprint}".encode()).hexdigest()[:20]
    file = folder / f"{digest}.npz"
    if not file.exists():
        start = time.perf_counter()
        result = row.predict(part, seed)
        query = ", ".join(np.unique(slides_of(part.query)))
        print(f"  {name}, seed {seed}, {query}: {time.perf_counter() - start:.0f} s", flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        with appears(file) as draft, draft.open("wb") as handle:
            np.savez_compressed(handle, **result)
    with np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)
