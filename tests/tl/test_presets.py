from dataclasses import asdict, replace

import pytest

from bleep_sc.tl._models.in_uns import preset_of
from bleep_sc.training.baseline_configs import HisToGeneConfig, StNetConfig
from bleep_sc.training.config import FitConfig
from bleep_sc.training.hist2st_config import Hist2STConfig
from bleep_sc.training.slide_configs import HE2RNAConfig, Hist2RNAConfig


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("bleep", FitConfig),
        ("stnet", StNetConfig),
        ("histogene", HisToGeneConfig),
        ("hist2st", Hist2STConfig),
        ("he2rna", HE2RNAConfig),
        ("hist2rna", Hist2RNAConfig),
    ],
)
def test_presets_are_recognised(method, kind):
    assert preset_of(method, asdict(kind())) == f"{kind.__name__}()"
    assert preset_of(method, asdict(kind.paper())) == f"{kind.__name__}.paper()"


def test_others_are_named_by_what_they_change():
    assert preset_of("bleep", asdict(FitConfig(max_epochs=5))) == "FitConfig() with max_epochs=5"
    changed = replace(FitConfig.paper(), n_neighbors=10, max_epochs=2)
    assert preset_of("bleep", asdict(changed)) == "FitConfig.paper() with max_epochs=2, n_neighbors=10"


def test_a_regression_has_none():
    assert preset_of("ridge", {}) == ""
