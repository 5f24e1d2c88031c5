import pytest

from bleep_sc.models.encoder_licenses import UNKNOWN, check_trained_encoder, license_of

FORBIDDEN = [
    "hf-hub:MahmoodLab/UNI",
    "hf-hub:MahmoodLab/UNI2-h",
    "MahmoodLab/conchv1_5",
    "hf_hub:paige-ai/Virchow2",
    "hf-hub:bioptimus/H-optimus-1",
    "hf-hub:bioptimus/H0-mini",
    "hf_hub:prov-gigapath/prov-gigapath",
    "hf-hub:owkin/phikon-v2",
    "X_uni",
    "X_UNI2",
    "uni2_tiles",
    "X_conch",
    "X_virchow2",
    "X_h_optimus_1",
]
UNSETTLED = [
    "hf-hub:paige-ai/Virchow",
    "hf-hub:bioptimus/H-optimus-0",
    "hf-hub:kaiko-ai/midnight",
    "tf_efficientnet_lite0",
]
OPEN = ["stain_stats", "resnet50", "densenet121", "vit_b_16", "vit_h_14"]


@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_may_not_be_given_away_is_refused_whatever_is_stated(name):
    for stated in (None, "MIT"):
        with pytest.raises(ValueError, match=r"does not let them be given away.*FitConfig\(train_encoder=False\)"):
            check_trained_encoder(name, stated)


@pytest.mark.parametrize("name", [*UNSETTLED, ""])
def test_what_is_not_settled_is_for_the_user_to_state(name):
    with pytest.raises(ValueError, match="pass encoder_license="):
        check_trained_encoder(name, None)
    check_trained_encoder(name, "Apache-2.0")
    for stated in ("cc-by-nc-nd-4.0", "CC BY-ND", "Attribution-NoDerivatives 4.0", "no derivatives"):
        with pytest.raises(ValueError, match="allows no derivatives"):
            check_trained_encoder(name, stated)


@pytest.mark.parametrize("name", OPEN)
def test_open_weights_pass(name):
    check_trained_encoder(name, None)
    assert license_of(name).terms


@pytest.mark.parametrize("name", ["unicorn", "X_unified", "mobilenet_uniform", "X_hipt", "titanic", "x"])
def test_other_names_are_not_known(name):
    assert license_of(name) == UNKNOWN


def test_torchvision_weights_that_are_not_open_are_told_apart():
    assert license_of("vit_h_14").license == "CC-BY-NC-4.0"
    assert license_of("resnet50").license == "BSD-3-Clause"
    assert license_of("hf-hub:paige-ai/Virchow").license.startswith("Apache-2.0")
