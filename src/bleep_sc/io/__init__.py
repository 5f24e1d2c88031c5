"""From an instrument's folder to an AnnData, and from a prediction to a page. Fits and predicts nothing itself."""

from bleep_sc._output.arguments import check_calls_of
from bleep_sc.io._prepare import prepare
from bleep_sc.io._write_index import write_index
from bleep_sc.io._write_page import write_page

__all__ = ["prepare", "write_index", "write_page"]

check_calls_of(globals())
