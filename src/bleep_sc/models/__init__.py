"""Torch modules and functions of tensors and arrays. They have never heard of AnnData, and none is trained here."""

from bleep_sc._output.arguments import check_calls_of
from bleep_sc.models import retrieval
from bleep_sc.models.bleep import BLEEP
from bleep_sc.models.encoders import Encoder, load_encoder
from bleep_sc.models.fitted import FittedModel
from bleep_sc.models.histogene import HisToGene
from bleep_sc.models.losses import bleep_loss
from bleep_sc.models.saved import load, save
from bleep_sc.models.stnet import StNet, stnet_loss

__all__ = [
    "BLEEP",
    "Encoder",
    "FittedModel",
    "HisToGene",
    "StNet",
    "bleep_loss",
    "load",
    "load_encoder",
    "retrieval",
    "save",
    "stnet_loss",
]

check_calls_of(globals())
