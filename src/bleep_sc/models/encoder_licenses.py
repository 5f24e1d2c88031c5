"""What is known of the licences of published encoders, for those who share models that rest on them."""

from __future__ import annotations

import re
from typing import NamedTuple

NO_COPIES = "Copies may not be distributed; non-commercial academic use with attribution alone."
OUTPUTS = "Its terms count models trained on its features among its derivatives."


class EncoderLicense(NamedTuple):
    """The licence of an encoder, as far as bleep_sc knows it; its own page is what counts."""

    license: str
    """Its short name."""
    terms: str = ""
    """What else its page asks."""
    may_be_shared: bool | None = None
    """Whether weights that were trained further may be given away; None where that is for its user to find out."""


UNKNOWN = EncoderLicense("not known to bleep_sc", "Look it up where the encoder comes from.")
KNOWN = {
    r"^stain_stats$": EncoderLicense("BSD-3-Clause", "A part of bleep_sc, which has no weights.", True),
    r"mahmoodlab/|(?<![a-z])(uni|uni2|uni2.h|conch)(?![a-z])": EncoderLicense(
        "CC-BY-NC-ND-4.0, gated", f"{NO_COPIES} {OUTPUTS}", False
    ),
    r"virchow.?2": EncoderLicense("CC-BY-NC-ND-4.0, gated", f"{NO_COPIES} {OUTPUTS}", False),
    r"virchow": EncoderLicense("Apache-2.0, gated"),
    r"h.?optimus.?0": EncoderLicense("Apache-2.0"),
    r"h.?optimus|h0.mini": EncoderLicense("CC-BY-NC-ND-4.0, gated", f"{NO_COPIES} {OUTPUTS}", False),
    r"gigapath": EncoderLicense(
        "Apache-2.0, gated", "Who asks for access agrees to non-commercial research use alone.", False
    ),
    r"phikon": EncoderLicense("Owkin non-commercial license", "Non-profit research alone.", False),
    r"lunit": EncoderLicense("Lunit non-commercial license", "Non-commercial research alone.", False),
    r"hibou": EncoderLicense("Apache-2.0, gated"),
    r"midnight": EncoderLicense("MIT"),
    r"astaxanthin/|(?<![a-z])keep(?![a-z])": EncoderLicense("MIT"),
    r"quiltnet": EncoderLicense("MIT"),
    r"kaiko.?vit|towards_large_pathology": EncoderLicense(
        "Kaiko Non-Commercial Public License 1", "Non-commercial; what is adapted is shared under the same terms."
    ),
    r"ctranspath": EncoderLicense("GPL-3.0"),
    r"genbio": EncoderLicense("GenBio AI Community License"),
    r"vinid/|(?<![a-z])plip(?![a-z])": EncoderLicense(
        "none was found", "Look for its terms where it comes from; others call it non-commercial."
    ),
}
"""By regular expressions of the name in lower case; the first that is found counts."""
REMEDY = "Fit with the encoder frozen, FitConfig(train_encoder=False): then none of its weights are in the reference."
NO_DERIVATIVES = re.compile(r"(?<![a-z])nd(?![a-z])|no.?deriv")


def license_of(encoder: str) -> EncoderLicense:
    """Return what is known of the licence of an encoder by its name, or by the key of its features in ``obsm``."""
    name = encoder.lower().removeprefix("x_")
    for pattern, known in KNOWN.items():
        if re.search(pattern, name):
            return known
    return _torchvision(encoder) or UNKNOWN


def _torchvision(encoder: str) -> EncoderLicense | None:
    from torchvision import models

    if encoder not in models.list_models(module=models):
        return None
    terms = "Weights of torchvision, trained on ImageNet, whose terms of use ask for non-commercial research."
    if "SWAG" in models.get_model_weights(encoder).DEFAULT.name:
        return EncoderLicense("CC-BY-NC-4.0", "SWAG weights of torchvision: non-commercial use with attribution.", True)
    return EncoderLicense("BSD-3-Clause", terms, True)


def refuse_forbidden(encoder: str) -> None:
    """Refuse to share weights of an encoder that was trained further where its licence is known to forbid that."""
    known = license_of(encoder)
    if known.may_be_shared is False:
        raise ValueError(
            f"The reference holds weights of encoder {encoder!r} that were trained further, and its licence "
            f"({known.license}) does not let them be given away. {known.terms} {REMEDY}"
        )


def check_trained_encoder(encoder: str, stated: str | None) -> None:
    """Refuse to share weights of an encoder that was trained further where its licence forbids that or is not known.

    ``stated`` is the licence as the user has read it.
    """
    refuse_forbidden(encoder)
    name = encoder or "given as a module"
    if stated is not None and NO_DERIVATIVES.search(stated.lower()):
        raise ValueError(
            f"encoder_license={stated!r} allows no derivatives, and the reference holds weights of encoder {name!r} "
            f"that were trained further. {REMEDY}"
        )
    known = license_of(encoder)
    if known.may_be_shared is None and stated is None:
        raise ValueError(
            f"The reference holds weights of encoder {name!r} that were trained further, and whether these may be "
            f"given away is not settled here (its licence: {known.license}). Read its terms, and pass "
            f"encoder_license=, its licence, if they allow it. {REMEDY}"
        )
