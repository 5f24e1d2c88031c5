"""What training a method of :data:`bleep_sc.models.methods.METHODS` leaves behind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Learnt:
    """A trained module, how to build it again, and what was chosen."""

    module: nn.Module
    """In evaluation mode."""
    architecture: dict[str, Any]
    """Plain arguments from which ``Method.network`` builds the module, but for the encoder."""
    history: dict[str, Any] = field(default_factory=dict)
    """Such as ``loss``, the mean of every epoch."""
    params: dict[str, Any] = field(default_factory=dict)
    """What training chose, plain."""
