"""Tissue to try things on: generated, and real; and what references are published. Nothing here prepares or fits."""

from bleep_sc._output.arguments import check_calls_of
from bleep_sc.datasets._her2st import her2st
from bleep_sc.datasets._liver import liver
from bleep_sc.datasets._mob import mob
from bleep_sc.datasets._references import references
from bleep_sc.datasets._toy import toy

__all__ = ["her2st", "liver", "mob", "references", "toy"]

check_calls_of(globals())
