"""Image encoders behind their own normalisation: of pathology, torchvision, timm, any module, and stain statistics."""

import copy
import hashlib
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bleep_sc._output.messages import did_you_mean
from bleep_sc.models.hub import asked_once
from bleep_sc.models.on_device import memory_format
from bleep_sc.models.pathology_encoders import ENCODERS, find, recorded_name
from bleep_sc.models.stain_stats import StainStats

Transform = Callable[[Tensor], Tensor]
FILES = (".h5", ".hdf5", ".pt", ".pth", ".npy", ".csv", ".zarr")
"""By which a file of features is told from the name of an encoder."""


class Encoder(nn.Module):
    """A network that turns patches into pooled features, behind the normalisation that it was trained with.

    Parameters
    ----------
    network
        Takes normalised images (B, 3, H, W), returns features (B, d).
    transform
        Normalises a batch of images (B, 3, H, W) whose values lie in [0, 1].
    name
        What ``load_encoder`` can rebuild it from; empty for a module given by hand.
    input_size
        Side in px that the network insists on; None if it takes any.

    Examples
    --------
    >>> network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    >>> encoder = bs.models.Encoder(network, torch.nn.Identity())
    >>> tuple(encoder(torch.zeros(8, 3, 32, 32)).shape)
    (8, 3)
    """

    def __init__(
        self, network: nn.Module, transform: Transform, *, name: str = "", input_size: int | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.transform = transform
        self.name = name
        self.input_size = input_size

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, d) of images (B, 3, H, W), uint8 or floats in [0, 1]."""
        images = images.contiguous(memory_format=memory_format(images.device))
        images = images.float().div_(255) if images.dtype == torch.uint8 else images
        if self.input_size is not None and images.shape[-1] != self.input_size:
            side = (self.input_size, self.input_size)
            images = torch.nn.functional.interpolate(images, side, mode="bilinear", antialias=True)
        features = self.network(self.transform(images))
        if not isinstance(features, Tensor) or features.ndim != 2:
            shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise ValueError(
                f"The encoder must return pooled features (batch, width), but returned {shape}. "
                "Wrap it in a module that pools them, or pass num_classes=0 to timm."
            )
        return features

    def fingerprint(self) -> str:
        """Hash of the kind of network, its weights and what the normalisation does to a fixed image."""
        digest = hashlib.sha256(type(self.network).__qualname__.encode())
        for name, tensor in sorted(self.network.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        ramp = torch.linspace(0, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)
        transform = copy.deepcopy(self.transform).cpu() if isinstance(self.transform, nn.Module) else self.transform
        digest.update(np.round(transform(ramp).numpy(), 4).tobytes())
        return digest.hexdigest()[:16]


class Normalize(nn.Module):
    """Subtract a mean and divide by a standard deviation, channel by channel."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Any, std: Any) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Normalise images (B, 3, H, W)."""
        return (images - self.mean) / self.std


def load_encoder(
    encoder: str | nn.Module,
    *,
    transform: Transform | None = None,
    pretrained: bool = True,
    weights: str | Path | None = None,
) -> Encoder:
    """Build an encoder from a name or a module.

    Parameters
    ----------
    encoder
        ``"stain_stats"``; an encoder of pathology by one of its names, such as ``"uni2"`` (:func:`list_encoders`),
        which brings its pooling, normalisation and size; a torchvision classifier (``"resnet50"``); a timm name or
        ``"hf-hub:owner/model"``; or a module that takes images (B, 3, H, W) and returns features (B, d).
    transform
        For modules: normalises images (B, 3, H, W) in [0, 1]. By default the module's own ``pretrained_cfg`` says how.
    pretrained
        For names: load the published weights, which may be downloaded; or leave the weights random.
    weights
        For encoders of pathology: the file of the weights, as their page offers it (``pytorch_model.bin``,
        ``model.safetensors``), with the files beside it where transformers or open_clip builds the network.

    Raises
    ------
    ValueError
        For a name that is not known, for encoders that run code of their authors, and for weights of another network.
    OSError
        When weights cannot be had; the message says where to ask for them, and what is had without asking.

    Examples
    --------
    >>> encoder = bs.models.load_encoder("stain_stats")
    >>> tuple(encoder(torch.full((8, 3, 32, 32), 0.5)).shape)
    (8, 36)
    """
    if isinstance(encoder, Encoder):
        if transform is not None:
            raise ValueError("transform= is for modules; this Encoder has a normalisation already. Leave it out.")
        return encoder
    if isinstance(encoder, nn.Module):
        return _from_module(encoder, transform)
    if transform is not None:
        raise ValueError(f"transform= is for modules; encoder {encoder!r} brings its own normalisation. Leave it out.")
    row = find(encoder)
    if row is not None:
        from bleep_sc.models.pathology_networks import build

        network = build(row, pretrained=pretrained, weights=weights)
        return Encoder(network, Normalize(*row.normalisation), name=row.name, input_size=row.size)
    if weights is not None:
        raise ValueError(
            f"weights={str(weights)!r} are for an encoder of bleep_sc.models.list_encoders(), and encoder={encoder!r} "
            "is none. Pass a module that has its weights."
        )
    if encoder.lower().endswith(FILES):
        raise ValueError(
            f"encoder={encoder!r} is a file, and not the name of an encoder. Features that other software computed are "
            f"read by bleep_sc.pp.read_features(adata, {encoder!r}); of one encoder's weights, pass "
            "bleep_sc.models.load_encoder(name, weights=path)."
        )
    if encoder == "stain_stats":
        return Encoder(StainStats(), nn.Identity(), name=encoder)
    from torchvision import models

    if encoder in models.list_models(module=models):
        return _from_torchvision(encoder, pretrained)
    return _from_timm(encoder, pretrained)


def is_on_hub(name: str, *, pretrained: bool = False) -> bool:
    """Tell whether building an encoder by its name asks a hub: for what it is, or for its weights."""
    from torchvision import models

    row = find(name)
    if row is not None:
        return pretrained or not row.is_known
    own = not name or name == "stain_stats" or name in models.list_models(module=models)
    return name.startswith("hf-hub:") or (pretrained and not own)


def require_consent(name: str, encoder: object) -> None:
    """Refuse to fetch an encoder that a stored model names from a hub, unless the user named it, or gave a module."""
    named = [encoder] if isinstance(encoder, str) else encoder if isinstance(encoder, list | tuple) else []
    if isinstance(encoder, nn.Module) or recorded_name(name) in map(recorded_name, named):
        return
    raise ValueError(
        f"The model names the encoder {name!r}, which would be fetched from a hub (encoder={encoder!r}). If you trust "
        f"who made the model, pass encoder={name!r}, or its module; or compute features first: "
        f"bleep_sc.pp.image_features(adata, {name!r})."
    )


def _from_module(module: nn.Module, transform: Transform | None) -> Encoder:
    config = getattr(module, "pretrained_cfg", None) or {}
    if transform is None:
        if "mean" not in config or "std" not in config:
            raise ValueError(
                f"How to normalise images for encoder {type(module).__name__} is not known: it has no pretrained_cfg. "
                "Pass bleep_sc.models.load_encoder(module, transform=torchvision.transforms.v2.Normalize(mean, std)) "
                "instead of the module."
            )
        transform = Normalize(config["mean"], config["std"])
    return Encoder(module, transform, input_size=_fixed_size(config))


def _fixed_size(config: dict[str, Any]) -> int | None:
    return int(config["input_size"][-1]) if config.get("fixed_input_size") else None


def _from_torchvision(name: str, pretrained: bool) -> Encoder:
    from torchvision import models

    weights = models.get_model_weights(name).DEFAULT
    try:
        network = models.get_model(name, weights=weights if pretrained else None)
    except OSError as error:
        folder = f"{torch.hub.get_dir()}/checkpoints"
        raise OSError(
            f"The weights of encoder {name!r} could not be downloaded ({error}). Put {weights.url} into {folder} by "
            "hand, pass a module that has its weights as encoder=, or use encoder='stain_stats', which needs none."
        ) from error
    preset = weights.transforms()
    input_size = getattr(network, "image_size", None)
    return Encoder(
        _without_classifier(network, name), Normalize(preset.mean, preset.std), name=name, input_size=input_size
    )


def _without_classifier(network: nn.Module, name: str) -> nn.Module:
    """Replace the last linear layer, which is the classifier, so that the network returns what it would classify."""
    linear = [path for path, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ValueError(
            f"Encoder {name!r} has no linear classifier to remove; pass it as a module that returns features."
        )
    parent, _, child = linear[-1].rpartition(".")
    setattr(network.get_submodule(parent), child, nn.Identity())
    return network


def _meant(name: str) -> str:
    """Return which name may have been meant."""
    from torchvision.models import list_models

    known = ["stain_stats", *(row.name for row in ENCODERS), *list_models()]
    return did_you_mean([name], known, cutoff=0.8)


def _from_timm(name: str, pretrained: bool) -> Encoder:
    try:
        import timm
    except ImportError as error:
        raise ImportError(
            f"Encoder {name!r} is neither 'stain_stats' nor a torchvision model.{_meant(name)} If it is a timm model, "
            "install timm: pip install 'bleep-sc[timm]'."
        ) from error
    if not name.startswith("hf-hub:") and not timm.is_model(name):
        raise ValueError(
            f"Encoder {name!r} is not known.{_meant(name)} Use 'stain_stats', an encoder of pathology "
            "(bleep_sc.models.list_encoders()) such as 'uni2', a torchvision name such as 'resnet50', a timm name "
            "such as 'vit_small_patch16_224', 'hf-hub:owner/model', or a torch module."
        )
    try:
        with asked_once() if pretrained or name.startswith("hf-hub:") else nullcontext():
            network = timm.create_model(name, pretrained=pretrained, num_classes=0)
    except (OSError, ValueError, RuntimeError) as error:
        raise OSError(
            f"The weights of encoder {name!r} could not be loaded ({error}). Check the network and, for a gated model, "
            "your access (huggingface-cli login); or load the module yourself and pass it as encoder=."
        ) from error
    config: dict[str, Any] = network.pretrained_cfg  # type: ignore[assignment]
    return Encoder(network, Normalize(config["mean"], config["std"]), name=name, input_size=_fixed_size(config))
