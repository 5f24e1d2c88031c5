"""Benchmark: compare methods so that nothing of the held-out tissue leaks. No method is fitted here but through tl."""

from bleep_sc._output.arguments import check_calls_of
from bleep_sc.bm._cross_validate import cross_validate
from bleep_sc.bm._external import external
from bleep_sc.bm._held_out import held_out
from bleep_sc.bm._methods import methods
from bleep_sc.bm._paper_table import paper_table
from bleep_sc.bm._report import report
from bleep_sc.bm._structure import structure
from bleep_sc.bm._summary import summarise
from bleep_sc.bm._to_latex import to_latex

__all__ = [
    "cross_validate",
    "external",
    "held_out",
    "methods",
    "paper_table",
    "report",
    "structure",
    "summarise",
    "to_latex",
]

check_calls_of(globals())
