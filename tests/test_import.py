import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "statement",
    [
        "import bleep_sc",
        "import bleep_sc; bleep_sc.pp.image_features, bleep_sc.pl.spatial; bleep_sc.tl.FitConfig.paper(); bleep_sc.tl.HisToGeneConfig.paper(); bleep_sc.tl.Hist2STConfig(); bleep_sc.tl.HE2RNAConfig()",
    ],
)
def test_importing_pulls_in_nothing_heavy(statement):
    heavy = "[name for name in ('torch', 'torchvision', 'anndata', 'scanpy', 'matplotlib', 'squidpy', 'spatialdata', 'timm', 'harmonypy') if name in sys.modules]"
    script = f"import sys; {statement}; print({heavy})"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_subpackages_are_found_and_listed():
    import bleep_sc

    assert {"pp", "tl", "pl", "datasets", "models", "__version__"} <= set(dir(bleep_sc))
    with pytest.raises(AttributeError, match="no attribute 'im'"):
        _ = bleep_sc.im
