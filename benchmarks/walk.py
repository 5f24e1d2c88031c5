"""How far one call of ``tl.impute`` walks through the package, on toy tissue: what a reader of it has to follow.

Counted are calls from one file of the package into another, changes of file from one call to the next (whoever calls),
and how often functions are asked that each answer one question.

    python benchmarks/walk.py
"""

import sys
import warnings
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import scanpy as sc

import bleep_sc as bs

PACKAGE = str(Path(bs.__file__).parent)
ASKED = ("libraries", "require_model", "require_layer", "named_slides", "Panel.position", "from_bytes")


def toy() -> tuple[Any, Any]:
    """Return a fitted reference of two slices, and a query."""
    adata = bs.datasets.toy(n_slices=3)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    bs.pp.extract_patches(adata, size=32, size_um=112)
    bs.pp.image_features(adata, "stain_stats", show_progress_bar=False)
    held_out = adata.obs["library_id"] == "slice3"
    ref, query = adata[~held_out].copy(), adata[held_out].copy()
    config = bs.tl.FitConfig(max_epochs=5)
    bs.tl.fit(ref, use_rep="X_stain_stats", config=config, show_progress_bar=False)
    return ref, query


def main() -> None:
    """Print the counts."""
    warnings.simplefilter("ignore")
    ref, query = toy()
    bs.tl.impute(query.copy(), ref=ref)  # what is imported when it is first needed
    calls: Counter[str] = Counter()
    crossed, changed, last = 0, 0, ""

    def note(frame: FrameType, event: str, _: object) -> None:
        nonlocal crossed, changed, last
        file = frame.f_code.co_filename
        if event != "call" or not file.startswith(PACKAGE):
            return
        calls[frame.f_code.co_qualname] += 1
        changed += file != last
        last = file
        caller = frame.f_back
        while caller is not None and not caller.f_code.co_filename.startswith(PACKAGE):
            caller = caller.f_back
        crossed += caller is not None and caller.f_code.co_filename != file

    sys.setprofile(note)
    bs.tl.impute(query, ref=ref)
    sys.setprofile(None)
    print(f"calls into another file {crossed}; changes of file from call to call {changed}; calls {calls.total()}")
    print("; ".join(f"{name} {calls[name]}" for name in ASKED))


if __name__ == "__main__":
    main()
