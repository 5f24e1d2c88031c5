"""Networks of published encoders of pathology, as their row of the table says, and weights of a hub or a file."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bleep_sc._output.messages import listed
from bleep_sc.models.encoder_licenses import license_of
from bleep_sc.models.hub import asked_once
from bleep_sc.models.pathology_encoders import ENCODERS

if TYPE_CHECKING:
    from bleep_sc.models.pathology_encoders import PathologyEncoder

PACKAGES = {"timm": "timm", "transformers": "transformers", "open_clip": "open-clip"}
"""The extra of bleep_sc that brings a library."""


UNREACHED = ("ConnectError", "ConnectTimeout", "ProxyError", "ReadTimeout", "LocalEntryNotFoundError", "gaierror")
"""Errors of httpx, and of huggingface_hub where a file is not kept here either, beside those of Python."""


class ClassToken(nn.Module):
    """The class token of a network of transformers."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return features (B, d) of normalised images (B, 3, H, W)."""
        return self.network(images).last_hidden_state[:, 0]


class ClassAndMean(nn.Module):
    """The class token, and beside it the mean of the patches' tokens, which come after it and the registers."""

    def __init__(self, network: nn.Module, n_prefix: int) -> None:
        super().__init__()
        self.network = network
        self.n_prefix = n_prefix

    def forward(self, images: Tensor) -> Tensor:
        """Return features (B, 2d) of normalised images (B, 3, H, W)."""
        tokens = self.network(images)
        tokens = getattr(tokens, "last_hidden_state", tokens)  # (B, n_prefix + patches, d)
        return torch.cat([tokens[:, 0], tokens[:, self.n_prefix :].mean(dim=1)], dim=1)


class Projection(nn.Module):
    """The image side of a model of images and text, of transformers."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return features (B, d) of normalised images (B, 3, H, W)."""
        return self.network(images).image_embeds


class Keep(nn.Module):
    """The image side of KEEP, of unit length; its parts are called as in the file of its weights."""

    def __init__(self, visual: Any, width: int) -> None:
        super().__init__()
        self.visual = visual
        self.visual_head = nn.Sequential(nn.Linear(visual.num_features, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, images: Tensor) -> Tensor:
        """Return features (B, d) of normalised images (B, 3, H, W)."""
        return nn.functional.normalize(self.visual_head(self.visual(images)), dim=-1)


def build(row: PathologyEncoder, *, pretrained: bool = True, weights: str | Path | None = None) -> nn.Module:
    """Build the network of a row, with its published weights, those of a file, or random ones."""
    if row.library == "authors":
        raise ValueError(_runs_their_code(row))
    makers = {"timm": _of_timm, "transformers": _of_transformers, "open_clip": _of_open_clip}
    if weights is not None and not Path(weights).exists():
        raise FileNotFoundError(f"weights={str(weights)!r} not found. Pass the file that {row.page} offers.")
    asks = weights is None and (pretrained or not row.is_known)
    try:
        with asked_once() if asks else nullcontext():
            return makers[row.library](row, pretrained, weights)
    except ImportError as error:
        raise ImportError(
            f"Encoder {row.name!r} needs {row.library}: pip install 'bleep-sc[{PACKAGES[row.library]}]'."
        ) from error
    except (OSError, RuntimeError) as error:
        if weights is not None:
            raise
        raise OSError(_how_to_get(row, error)) from error


def _of_timm(row: PathologyEncoder, pretrained: bool, weights: str | Path | None) -> nn.Module:
    import timm

    arguments = {**row.arguments, "num_classes": 0}
    for name, place in (("mlp_layer", timm.layers), ("act_layer", nn)):
        if name in arguments:
            arguments[name] = getattr(place, arguments[name])
    if pretrained and weights is None and not row.file:
        network = timm.create_model(f"hf-hub:{row.repository}", pretrained=True, **arguments)
    else:
        network = timm.create_model(row.architecture, pretrained=False, **arguments)
        network = Keep(network, row.width) if row.pooling == "projection" else network
        if pretrained or weights is not None:
            _fill(network, _on_hub(row) if weights is None else Path(weights), row)
    if row.pooling == "class token and mean":
        return ClassAndMean(network, int(network.num_prefix_tokens))  # type: ignore[arg-type]
    return network


def _of_transformers(row: PathologyEncoder, pretrained: bool, weights: str | Path | None) -> nn.Module:
    import transformers

    kind = getattr(transformers, row.architecture)
    source = row.repository if weights is None else str(_folder(weights))
    if pretrained or weights is not None:
        network = kind.from_pretrained(source, local_files_only=weights is not None, **row.arguments)
    else:
        network = kind(kind.config_class.from_pretrained(source), **row.arguments)
    pooled = {"class token": ClassToken, "projection": Projection}
    network = network.float()
    return pooled[row.pooling](network) if row.pooling in pooled else ClassAndMean(network, 1)


def _of_open_clip(row: PathologyEncoder, pretrained: bool, weights: str | Path | None) -> nn.Module:
    import open_clip

    source = f"hf-hub:{row.repository}" if weights is None else f"local-dir:{_folder(weights)}"
    model = open_clip.create_model(source, load_weights=pretrained or weights is not None)
    return model.visual


def _folder(weights: str | Path) -> Path:
    """Return the folder of a file of weights, where its configuration lies as well."""
    path = Path(weights)
    return path if path.is_dir() else path.parent


def _on_hub(row: PathologyEncoder) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(row.repository, row.file))


def _fill(network: nn.Module, path: Path, row: PathologyEncoder) -> None:
    """Put the tensors of a file into a network; all that it has must be there, in the same shapes."""
    from timm.models import load_state_dict

    tensors, expected = load_state_dict(str(path), use_ema=False, weights_only=True), network.state_dict()
    if isinstance(network, Keep):  # its file has the text side too, and a name that timm has changed
        tensors = {name.replace(".ls1.weight", ".ls1.gamma"): each for name, each in tensors.items()}
        tensors = {name.replace(".ls2.weight", ".ls2.gamma"): each for name, each in tensors.items()}
        tensors = {name: each for name, each in tensors.items() if name.startswith(("visual.", "visual_head."))}
    missing, unknown = sorted(expected.keys() - tensors), sorted(tensors.keys() - expected)
    other = [name for name in expected if name in tensors and tensors[name].shape != expected[name].shape]
    if missing or unknown or other:
        differ = {"missing": missing, "not known": unknown, "of another shape": other}
        said = "; ".join(f"{len(names)} are {how} ({listed(names, 2)})" for how, names in differ.items() if names)
        raise ValueError(
            f"weights={str(path)!r} are not those of {row.title}: of its tensors {said}. Pass the file that {row.page} "
            "offers."
        )
    network.load_state_dict(dict(tensors))


def _how_to_get(row: PathologyEncoder, error: Exception) -> str:
    """Say where weights that could not be had are asked for, and what may be had without asking."""
    terms = license_of(row.name).license.removesuffix(", gated")
    ask = {
        True: f"Ask for access at {row.page} (gated, {terms}), and log in (hf auth login)",
        None: f"It may have to be asked for at {row.page} ({terms}), then log in (hf auth login)",
        False: f"It is free to fetch from {row.page} ({terms}): check the network",
    }[row.gated]
    why = ""
    if _is_unreached(error):
        why = ": the hub was not reached, so check the network, and that HF_HUB_OFFLINE is not set"
    free = [each.name for each in ENCODERS if each.gated is False and each.library != "authors" and each != row]
    return (
        f"The weights of encoder {row.name!r} could not be loaded{why} ({error}). {ask}; or pass what you have, "
        f"encoder=bleep_sc.models.load_encoder({row.name!r}, weights='path'). To be had without asking: "
        f"{listed(free, len(free))}; bleep_sc.models.list_encoders() knows their terms."
    )


def _is_unreached(error: BaseException | None) -> bool:
    """Tell whether a hub was not reached at all: no answer of it is among what led to an error."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    if any(getattr(each, "response", None) is not None for each in chain):
        return False
    return any(isinstance(each, ConnectionError | TimeoutError) or type(each).__name__ in UNREACHED for each in chain)


def _runs_their_code(row: PathologyEncoder) -> str:
    mean, std = row.normalisation
    return (
        f"Encoder {row.name!r} runs code of its authors, which bleep_sc neither fetches nor runs. Load it as "
        f"{row.page} says, as a module that takes images (B, 3, {row.size}, {row.size}) and returns features "
        f"(B, {row.width}), and pass bleep_sc.models.load_encoder(module, transform="
        f"torchvision.transforms.v2.Normalize(mean={mean}, std={std})); or read what TRIDENT or CLAM computed: "
        "bleep_sc.pp.read_features."
    )
