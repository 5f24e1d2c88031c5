from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import timm
import torchvision

import bleep_sc as bs
from bleep_sc.models.encoder_licenses import UNKNOWN, license_of
from bleep_sc.models.pathology_encoders import _BY_NAME, ENCODERS, _plain, doubt_of_scale, find, recorded_name


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("uni2", "uni2-h"),
        ("UNI2-h", "uni2-h"),
        ("uni_v2", "uni2-h"),
        ("hf-hub:MahmoodLab/UNI2-h", "uni2-h"),
        ("MahmoodLab/uni", "uni"),
        ("Virchow2", "virchow2"),
        ("hoptimus0", "h-optimus-0"),
        ("gigapath", "prov-gigapath"),
        ("midnight", "midnight-12k"),
        ("phikon_v2", "phikon-v2"),
        ("conch_v15", "conch-v1.5"),
        ("Hibou-L", "hibou-l"),
        ("kaiko-vitb8", "kaiko-vitb8"),
        ("hf_hub:1aurent/vit_small_patch8_224.lunit_dino", "lunit-vits8"),
        ("resnet50", "resnet50"),
        ("hf-hub:owner/uni", "hf-hub:owner/uni"),
    ],
)
def test_names_that_people_type(typed, meant):
    assert recorded_name(typed) == meant


def test_no_name_means_two_encoders_or_one_of_another_library():
    names = {(row.name, _plain(each)) for row in ENCODERS for each in (row.name, row.title, row.repository, *row.also)}
    assert [name for name, count in Counter(plain for _, plain in names).items() if count > 1] == []
    assert len(_BY_NAME) >= len(names)
    others = [*timm.list_models(), *timm.list_pretrained(), *torchvision.models.list_models(), "stain_stats"]
    assert [name for name in others if find(name)] == []


def test_every_row_says_what_must_be_known():
    for row in ENCODERS:
        mean, std = np.array(row.normalisation)
        assert mean.shape == std.shape == (3,)
        assert ((mean > 0.3) & (mean < 0.8) & (std > 0.1) & (std <= 0.5)).all()
        assert row.read
        assert license_of(row.name) != UNKNOWN
        assert license_of(row.repository).license == license_of(row.name).license or row.library == "authors"
        if row.gated is False:
            assert "gated" not in license_of(row.name).license
        if row.gated:
            assert "gated" in license_of(row.name).license
        assert bool(row.architecture) == (row.library in ("timm", "transformers"))


def test_patches_of_another_scale_are_doubted():
    assert doubt_of_scale("uni2", 112) == ""
    assert doubt_of_scale("uni2", 80) == ""
    assert doubt_of_scale("virchow2", 448) == ""
    for name, um in (("plip", 900), ("resnet50", 900), ("uni2", float("nan"))):
        assert doubt_of_scale(name, um) == ""
    said = doubt_of_scale("uni2", 56)
    assert "UNI2-h was trained at 0.5 µm per px; patches of 56 µm show it tissue at 0.25" in said
    assert "size=224, size_um=112" in said
    assert "0.25 and 0.5 and 1 and 2 µm" in doubt_of_scale("virchow2", 1000)
    assert "size_um=448" in doubt_of_scale("virchow2", 1000)


def test_the_list_is_the_table():
    listed = bs.models.list_encoders()
    assert listed.index.tolist() == [row.name for row in ENCODERS]
    assert listed.loc["h-optimus-0", "gated"] == "unclear"
    assert listed.loc["uni2-h", "page"] == "https://huggingface.co/MahmoodLab/UNI2-h"
    assert listed.notna().all(axis=None)


def line(name, row):
    """The line of an encoder in the table of docs/howto/encoders.md."""
    access = {"yes": "asked for", "no": "free", "unclear": "unclear"}[row["gated"]]
    terms = row["license"].removesuffix(", gated")
    library = {"authors": "its authors' code"}.get(row["library"], row["library"])
    scale = row["mpp"] or "not known"
    return f"| `{name}` | [{row['title']}]({row['page']}) | {terms} | {access} | {row['width']} | {scale} | {library} |"


def test_the_page_has_the_table():
    page = (Path(__file__).parents[2] / "docs" / "howto" / "encoders.md").read_text()
    lines = [line(name, row) for name, row in bs.models.list_encoders().iterrows()]
    found = [each for each in page.splitlines() if each.startswith("| `") and "](https://" in each]
    assert found == lines
