"""Published encoders of pathology by the names that people type, a row each: plain data.

Read were, at the end of 2026: what the authors publish (READMEs and code of UNI, H-optimus-0, Prov-GigaPath, Midnight,
Hibou, KEEP, Kaiko and Lunit), and how TRIDENT, LazySlide's registry 0.1 and kaiko's eva load the same weights. The
pages of the weights themselves could not be opened, and none of the weights were at hand: ``read`` says by row what the
row rests on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Channels = tuple[float, float, float]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
BIOPTIMUS = ((0.707223, 0.578729, 0.703617), (0.211883, 0.230117, 0.177517))
HIBOU = ((0.7068, 0.5755, 0.722), (0.195, 0.2316, 0.1816))
LUNIT = ((0.70322989, 0.53606487, 0.66096631), (0.21716536, 0.26081574, 0.20723464))
GENBIO = ((0.697, 0.575, 0.728), (0.188, 0.240, 0.187))
SWIGLU = {"mlp_layer": "SwiGLUPacked", "act_layer": "SiLU"}
"""Arguments that name layers: of timm, and of torch."""
EVERY_SCALE = (0.25, 0.5, 1.0, 2.0)
FAR = 1.5
"""How many times finer or coarser than in training an encoder may see tissue before that is warned of."""


@dataclass(frozen=True)
class PathologyEncoder:
    """What is needed to build an encoder, and what to know before asking for its weights."""

    name: str
    """What it is called in records and keys."""
    title: str
    """What its authors call it."""
    repository: str
    """Owner and model on the Hugging Face hub, or of GitHub for weights that are not there."""
    library: Literal["timm", "transformers", "open_clip", "authors"]
    """What builds it; ``"authors"``: code of theirs, which is neither fetched nor run."""
    width: int
    """Features of a patch."""
    normalisation: tuple[Channels, Channels]
    """Mean and standard deviation of the channels."""
    pooling: Literal["class token", "class token and mean", "projection", "of its authors"] = "class token"
    """What of the tokens is returned: the class token, its projection beside text, or also the mean of the patches'."""
    also: tuple[str, ...] = ()
    """Other names; case, dashes and the like make no difference."""
    gated: bool | None = True
    """Whether its weights have to be asked for; None where sources disagree."""
    mpp: tuple[float, ...] = (0.5,)
    """µm per px at which it was trained; empty where that is not known."""
    size: int = 224
    """Side of its images, px, to which patches are resized."""
    architecture: str = ""
    """The model of timm, or the class of transformers."""
    arguments: dict[str, Any] = field(default_factory=dict)
    """With which it is built."""
    file: str = ""
    """Of the repository, where its library does not find the weights by itself."""
    read: str = ""
    """Where the facts of this row were read."""

    @property
    def page(self) -> str:
        """Where weights are asked for."""
        host = "https://github.com" if self.repository.startswith("Xiyue-Wang/") else "https://huggingface.co"
        return f"{host}/{self.repository}"

    @property
    def is_known(self) -> bool:
        """Whether it can be built, without its weights, from what stands here."""
        return self.library == "timm"


_UNI = {"patch_size": 16, "init_values": 1e-5, "dynamic_img_size": True}
_UNI2 = {
    **{
        "patch_size": 14,
        "depth": 24,
        "num_heads": 24,
        "embed_dim": 1536,
        "mlp_ratio": 2.66667 * 2,
        "init_values": 1e-5,
    },
    **{"no_embed_class": True, "reg_tokens": 8, "dynamic_img_size": True, **SWIGLU},
}
_GIGAPATH = {"patch_size": 16, "embed_dim": 1536, "depth": 40, "num_heads": 24, "mlp_ratio": 5.33334}
_FLASH = {"mlp_ratio": 2048 / 384, "init_values": 1e-5, **SWIGLU}
_VIRCHOW = {"init_values": 1e-5, "mlp_ratio": 5.3375, "global_pool": "", "dynamic_img_size": True, **SWIGLU}
_OPTIMUS = {"img_size": 224, "global_pool": "token", "init_values": 1e-5}
_H0_MINI = {"img_size": 224, "global_pool": "", "mlp_ratio": 5.33334, "init_values": 1e-5, **SWIGLU}
_KAIKO_READ = "README of kaiko-ai/towards_large_pathology_fms, TRIDENT; at which µm per px: TRIDENT alone"
_LUNIT_READ = "README of lunit-io/benchmark-ssl-pathology, LazySlide (normalisation: release notes by way of it)"


def _kaiko(name: str, width: int, architecture: str, **arguments: Any) -> PathologyEncoder:
    repository = f"1aurent/{architecture}.kaiko_ai_towards_large_pathology_fms"
    size, patch = name[3].upper(), name[4:]
    return PathologyEncoder(
        f"kaiko-{name}",
        f"Kaiko ViT-{size}/{patch}",
        repository,
        "timm",
        width,
        HALF,
        also=(f"kaiko-{size}{patch}",),
        gated=False,
        architecture=architecture,
        arguments={"dynamic_img_size": True, **arguments},
        read=_KAIKO_READ,
    )


def _lunit(patch: int) -> PathologyEncoder:
    architecture = f"vit_small_patch{patch}_224"
    return PathologyEncoder(
        f"lunit-vits{patch}",
        f"Lunit DINO ViT-S/{patch}",
        f"1aurent/{architecture}.lunit_dino",
        "timm",
        384,
        LUNIT,
        also=(f"lunit-dino-s{patch}", f"lunit-s{patch}", *(("lunit",) if patch == 8 else ())),
        gated=False,
        mpp=(0.25, 0.5),
        architecture=architecture,
        read=_LUNIT_READ,
    )


def _quiltnet(patch: int) -> PathologyEncoder:
    return PathologyEncoder(
        f"quiltnet-b-{patch}",
        f"QuiltNet-B-{patch}",
        f"wisdomik/QuiltNet-B-{patch}",
        "open_clip",
        512,
        CLIP,
        "projection",
        also=("quiltnet", "quilt") if patch == 16 else (),
        gated=False,
        mpp=(),
        read="LazySlide",
    )


ENCODERS = (
    PathologyEncoder(
        "uni",
        "UNI",
        "MahmoodLab/UNI",
        "timm",
        1024,
        IMAGENET,
        also=("uni-v1", "uni1"),
        architecture="vit_large_patch16_224",
        arguments=_UNI,
        read="README of mahmoodlab/UNI, TRIDENT, LazySlide",
    ),
    PathologyEncoder(
        "uni2-h",
        "UNI2-h",
        "MahmoodLab/UNI2-h",
        "timm",
        1536,
        IMAGENET,
        also=("uni2", "uni-2", "uni-v2"),
        architecture="vit_giant_patch14_224",
        arguments=_UNI2,
        read="README of mahmoodlab/UNI, TRIDENT, LazySlide",
    ),
    PathologyEncoder(
        "conch",
        "CONCH",
        "MahmoodLab/CONCH",
        "authors",
        512,
        CLIP,
        "of its authors",
        also=("conch-v1",),
        size=448,
        read="TRIDENT, LazySlide",
    ),
    PathologyEncoder(
        "conch-v1.5",
        "CONCH v1.5",
        "MahmoodLab/conchv1_5",
        "authors",
        768,
        IMAGENET,
        "of its authors",
        size=448,
        read="TRIDENT, LazySlide",
    ),
    PathologyEncoder(
        "virchow",
        "Virchow",
        "paige-ai/Virchow",
        "timm",
        2560,
        IMAGENET,
        "class token and mean",
        also=("virchow1",),
        architecture="vit_huge_patch14_224",
        arguments=_VIRCHOW,
        read="TRIDENT, LazySlide",
    ),
    PathologyEncoder(
        "virchow2",
        "Virchow2",
        "paige-ai/Virchow2",
        "timm",
        2560,
        IMAGENET,
        "class token and mean",
        also=("virchow-v2",),
        mpp=EVERY_SCALE,
        architecture="vit_huge_patch14_224",
        arguments={**_VIRCHOW, "reg_tokens": 4},
        read="TRIDENT, LazySlide, eva; scales: arXiv 2408.00738 by way of wsistream",
    ),
    PathologyEncoder(
        "h-optimus-0",
        "H-optimus-0",
        "bioptimus/H-optimus-0",
        "timm",
        1536,
        BIOPTIMUS,
        also=("optimus-0",),
        gated=None,
        architecture="vit_giant_patch14_reg4_dinov2",
        arguments=_OPTIMUS,
        read="README of bioptimus/releases, TRIDENT, LazySlide, eva",
    ),
    PathologyEncoder(
        "h-optimus-1",
        "H-optimus-1",
        "bioptimus/H-optimus-1",
        "timm",
        1536,
        BIOPTIMUS,
        also=("optimus-1",),
        architecture="vit_giant_patch14_reg4_dinov2",
        arguments=_OPTIMUS,
        read="TRIDENT, LazySlide",
    ),
    PathologyEncoder(
        "h0-mini",
        "H0-mini",
        "bioptimus/H0-mini",
        "timm",
        1536,
        BIOPTIMUS,
        "class token and mean",
        also=("h-optimus-0-mini",),
        architecture="vit_base_patch14_reg4_dinov2",
        arguments=_H0_MINI,
        read="TRIDENT, LazySlide, documentation of bioptimus; width of the SwiGLU: from the number of parameters",
    ),
    PathologyEncoder(
        "prov-gigapath",
        "Prov-GigaPath",
        "prov-gigapath/prov-gigapath",
        "timm",
        1536,
        IMAGENET,
        also=("gigapath",),
        architecture="vit_giant_patch14_dinov2",
        arguments={"img_size": 224, **_GIGAPATH},
        read="README of prov-gigapath/prov-gigapath, TRIDENT, LazySlide",
    ),
    PathologyEncoder(
        "gigapath-flash",
        "GigaPath-Flash",
        "prov-gigapath/prov-gigapath-flash",
        "timm",
        384,
        IMAGENET,
        architecture="vit_small_patch16_224",
        arguments=_FLASH,
        file="pytorch_model.bin",
        read="TRIDENT, LazySlide",
    ),
    PathologyEncoder(
        "phikon",
        "Phikon",
        "owkin/phikon",
        "transformers",
        768,
        IMAGENET,
        gated=False,
        architecture="ViTModel",
        arguments={"add_pooling_layer": False},
        read="TRIDENT, LazySlide, wsistream",
    ),
    PathologyEncoder(
        "phikon-v2",
        "Phikon-v2",
        "owkin/phikon-v2",
        "transformers",
        1024,
        IMAGENET,
        also=("phikon2",),
        gated=False,
        architecture="Dinov2Model",
        read="TRIDENT, LazySlide, wsistream",
    ),
    PathologyEncoder(
        "midnight-12k",
        "Midnight-12k",
        "kaiko-ai/midnight",
        "transformers",
        3072,
        HALF,
        "class token and mean",
        also=("midnight12k", "kaiko-midnight"),
        gated=None,
        mpp=EVERY_SCALE,
        architecture="Dinov2Model",
        read="README of kaiko-ai/Midnight, TRIDENT, LazySlide; scales: arXiv 2504.05186 by way of wsistream",
    ),
    PathologyEncoder(
        "hibou-b",
        "Hibou-B",
        "histai/hibou-b",
        "authors",
        768,
        HIBOU,
        also=("hibou",),
        read="README of HistAI/hibou, LazySlide, eva",
    ),
    PathologyEncoder("hibou-l", "Hibou-L", "histai/hibou-L", "authors", 1024, HIBOU, read="TRIDENT, LazySlide, eva"),
    PathologyEncoder(
        "keep",
        "KEEP",
        "Astaxanthin/KEEP",
        "timm",
        768,
        IMAGENET,
        "projection",
        gated=False,
        architecture="vit_large_patch16_224",
        arguments=_UNI,
        file="model.safetensors",
        read="code of MAGIC-AI4Med/KEEP, LazySlide; at which µm per px: TRIDENT alone",
    ),
    PathologyEncoder(
        "ctranspath",
        "CTransPath",
        "Xiyue-Wang/TransPath",
        "authors",
        768,
        IMAGENET,
        "of its authors",
        gated=False,
        mpp=(1.0,),
        read="TRIDENT, LazySlide; at which µm per px: TRIDENT alone",
    ),
    PathologyEncoder(
        "plip",
        "PLIP",
        "vinid/plip",
        "transformers",
        512,
        CLIP,
        "projection",
        gated=False,
        mpp=(),
        architecture="CLIPVisionModelWithProjection",
        read="LazySlide",
    ),
    _quiltnet(16),
    _quiltnet(32),
    _kaiko("vits16", 384, "vit_small_patch16_224"),
    _kaiko("vits8", 384, "vit_small_patch8_224"),
    _kaiko("vitb16", 768, "vit_base_patch16_224"),
    _kaiko("vitb8", 768, "vit_base_patch8_224"),
    _kaiko("vitl14", 1024, "vit_large_patch14_reg4_dinov2", img_size=518),
    _lunit(8),
    _lunit(16),
    PathologyEncoder(
        "genbio-pathfm",
        "GenBio-PathFM",
        "genbio-ai/genbio-pathfm",
        "authors",
        4608,
        GENBIO,
        "of its authors",
        gated=False,
        read="TRIDENT, LazySlide",
    ),
)
"""All of them."""


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", re.sub(r"^hf[-_]hub:", "", name.lower()))


_BY_NAME = {
    _plain(name): row
    for row in ENCODERS
    for name in (row.name, row.title, row.repository, row.repository.split("/")[1], *row.also)
}


def find(name: str) -> PathologyEncoder | None:
    """Return the encoder that a name means, if it is one of these: by its name, its title or its place on the hub."""
    return _BY_NAME.get(_plain(name))


def recorded_name(name: str) -> str:
    """Return what an encoder is called in records, whatever name of it was typed."""
    row = find(name)
    return name if row is None else row.name


def doubt_of_scale(name: str, size_um: float) -> str:
    """Say that patches of ``size_um`` µm show tissue far from the scale that an encoder knows; empty where not."""
    row = find(name)
    if row is None or not row.mpp or not np.isfinite(size_um):
        return ""
    seen = size_um / row.size
    if min(max(seen / each, each / seen) for each in row.mpp) <= FAR:
        return ""
    known = " and ".join(f"{each:g}" for each in row.mpp)
    nearest = min(row.mpp, key=lambda each: max(seen / each, each / seen))
    return (
        f"{row.title} was trained at {known} µm per px; patches of {size_um:.0f} µm show it tissue at {seen:.2g}. Cut "
        f"them with bleep_sc.pp.extract_patches(adata, size={row.size}, size_um={nearest * row.size:.0f}), reference "
        "and query alike."
    )
