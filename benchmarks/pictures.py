"""Pictures for the repository."""

import io

from PIL import Image

N_COLORS = 256


def few_colors(png: bytes) -> bytes:
    """Return a picture in a palette of its own, which keeps rare colours, a third as large."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture = picture.quantize(N_COLORS, method=Image.Quantize.MAXCOVERAGE, kmeans=3)
    buffer = io.BytesIO()
    picture.save(buffer, format="png", optimize=True)
    return buffer.getvalue()
