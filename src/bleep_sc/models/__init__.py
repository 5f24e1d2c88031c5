"""Torch modules and functions of tensors and arrays. They have never heard of AnnData, and none is trained here."""

from bleep_sc._output.arguments import check_calls_of
from bleep_sc.models import retrieval
from bleep_sc.models.anchors import anchor_weights
from bleep_sc.models.bleep import BLEEP
from bleep_sc.models.encoders import Encoder, load_encoder
from bleep_sc.models.fitted import FittedModel
from bleep_sc.models.he2rna import HE2RNA
from bleep_sc.models.hist2rna import Hist2RNA
from bleep_sc.models.hist2st import Hist2ST
from bleep_sc.models.histogene import HisToGene
from bleep_sc.models.list_encoders import list_encoders
from bleep_sc.models.losses import bleep_loss, clip_loss
from bleep_sc.models.stnet import StNet, stnet_loss
from bleep_sc.models.zinb import zinb_loss

__all__ = [
    "BLEEP",
    "HE2RNA",
    "Encoder",
    "FittedModel",
    "HisToGene",
    "Hist2RNA",
    "Hist2ST",
    "StNet",
    "anchor_weights",
    "bleep_loss",
    "clip_loss",
    "list_encoders",
    "load_encoder",
    "retrieval",
    "stnet_loss",
    "zinb_loss",
]

check_calls_of(globals())
