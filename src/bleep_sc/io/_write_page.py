from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bleep_sc import pl
from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_model
from bleep_sc._adata.libraries import libraries, one_slide
from bleep_sc._output import html
from bleep_sc._output.disk import appears
from bleep_sc.io._page.embedded import embedded
from bleep_sc.io._page.in_short import in_short
from bleep_sc.io._page.sections import SlidePage
from bleep_sc.slides import open_slide
from bleep_sc.tl._models.in_uns import read_description
from bleep_sc.tl._predictions.record import require_prediction

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

SAME_SIZE = 0.01
"""By how much, as a share, an image may be larger than the slide that the coordinates are of."""


def write_page(
    adata: AnnData,
    path: str | Path,
    *,
    layer: str = "bleep",
    ref: AnnData | None = None,
    genes: str | Sequence[str] | None = None,
    model_key: str = "bleep",
    notes: Mapping[str, str] | None = None,
    library_id: str | None = None,
    library_key: str | None = None,
) -> None:
    """Write the page of a predicted slide: the slide under its genes, and how far they are to be trusted.

    The page is one file that needs no network. It has the view of :func:`bleep_sc.pl.viewer`; which genes are to be
    read and what their r means; the means of regions; what the tissue with most and least of a gene looks like; the
    slide, its tiles, the prediction, the reference with its own scores, versions, and how to cite.

    Parameters
    ----------
    adata
        A query that :func:`bleep_sc.tl.impute` predicted.
    path
        The file, such as ``"slide.html"``; it appears when it is complete, and replaces one that is there.
    layer
        The predicted layer.
    ref
        The reference that it was imputed from; without, the page does not say where values come from.
    genes
        Genes to list; None is the first 200 by their predictability.
    model_key
        Name of the model in the reference.
    notes
        What else the page is to say of the slide, by name.
    library_id
        The slide; needed where there are several.
    library_key
        Column of ``obs`` that names the slide; None is what an earlier call was told, else ``library_id``.

    Returns
    -------
    None.

    Raises
    ------
    KeyError
        When the layer, a gene, the model or the slide is not there.
    ValueError
        When a gene was not predicted, there are several slides and none is named, or ``ref`` is not the reference that
        the layer was imputed from.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.impute`:

    >>> bs.io.write_page(adata_query, "slice3.html", ref=adata_ref)
    """
    require_prediction(adata, layer)
    name, rows = one_slide(libraries(adata, library_key), library_id)
    tiles = adata if len(rows) == adata.n_obs else adata[rows].copy()
    patches_key = keys.PATCHES
    if ref is not None:
        recipe = read_description(require_model(ref, model_key), model_key).recipe
        patches_key = str(recipe.get("features", [recipe])[0]["patches_key"])
    scan, size = _scan(tiles, name)
    view = pl.viewer(
        tiles,
        layer,
        genes=genes,
        ref=ref,
        image=scan,
        model_key=model_key,
        patches_key=patches_key,
        library_key=library_key,
    )
    about = SlidePage(tiles, name, layer, ref, model_key, patches_key, notes or {}, size)
    head, shown = embedded(view)
    said = json.dumps(in_short(tiles, name, layer, about.notes))
    text = html.page(f"Predicted expression of {name}", "", about.sections(shown), head, said)
    with appears(Path(path)) as draft:
        draft.write_text(text, encoding="utf-8")


def _scan(adata: AnnData, name: str) -> tuple[str | None, tuple[int, int] | None]:
    """Return the image file of a slide, and its width and height, px, where it is as large as the small image says."""
    library: Any = adata.uns.get(keys.SPATIAL, {}).get(name, {})
    path = Path(str(library.get("metadata", {}).get("source_image_path", "")) or ".")
    if not path.is_file() or "hires" not in library.get("images", {}):
        return None, None
    width = library["images"]["hires"].shape[1] / float(library["scalefactors"]["tissue_hires_scalef"])
    with open_slide(path) as slide:
        is_it = abs(slide.width / width - 1) < SAME_SIZE
        return (str(path), (slide.width, slide.height)) if is_it else (None, None)
