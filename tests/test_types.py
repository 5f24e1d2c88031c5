"""Types reach those who use the package: mypy follows the public API of an installed bleep_sc, and finds slips."""

import subprocess
import sys

import pytest

pytest.importorskip("mypy")

USER = """
from anndata import AnnData

import bleep_sc as bs


def run(adata: AnnData, query: AnnData) -> AnnData | None:
    bs.pp.extract_patches(adata, size=56, size_um=112)
    bs.pp.image_features(adata, "stain_stats", show_progress_bar=False)
    bs.tl.fit(adata, use_rep="X_stain_stats", config=bs.tl.FitConfig(max_epochs=5))
    bs.tl.share_reference(adata, "shared", license="cc-by-4.0")
    genes: list[str] = bs.tl.load_model(adata).description.genes
    print(genes, bs.metrics.pearson, bs.slides.open_slide, bs.models.BLEEP, bs.datasets.toy(), bs.__version__)
    return bs.tl.impute(query, ref=bs.tl.load_reference("shared"), interval=0.9, copy=True)
"""
SLIPS = """
import bleep_sc as bs

adata = bs.datasets.toy(n_slices="3")
bs.tl.fit(adata, use_reps="X_stain_stats")
bs.tl.FitConfig(metric="gaussian")
bs.tl.impute_all(adata)
"""


def errors_of(text, folder):
    file = folder / "user.py"
    file.write_text(text)
    command = [sys.executable, "-m", "mypy", "--config-file=", "--strict", "--ignore-missing-imports"]
    command += ["--follow-imports=silent", f"--cache-dir={folder / 'cache'}", "--no-error-summary", str(file)]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder).stdout.splitlines()


@pytest.mark.slow
def test_users_are_told_of_slips_and_of_nothing_else(tmp_path):
    assert errors_of(USER, tmp_path) == []
    slips = errors_of(SLIPS, tmp_path)
    kinds = [line.rpartition("[")[2].rstrip("]") for line in slips if ": error:" in line]
    assert kinds == ["arg-type", "call-arg", "arg-type", "attr-defined"], slips
