"""What the paper says, held against comparisons whose answers are known."""

import numpy as np
import pandas as pd
import pytest

from bleep_sc.bm._sentences import SENTENCES, TABLE_1, verdicts

SLIDES = ("a", "b", "c", "d")
NOISE = np.array([-0.01, 0.0, 0.01, 0.02])


def values(**methods):
    """A value of every slide: measures by method, around the level that is given."""
    rows = [
        {"held_out": "another donor", "measure": measure, "method": method, "library": library, "donor": library}
        | {"value": level + noise * (1 + len(method) % 3)}
        for method, measures in methods.items()
        for measure, level in measures.items()
        for library, noise in zip(SLIDES, NOISE, strict=True)
    ]
    return pd.DataFrame(rows)


def judged(given):
    found = verdicts(given)
    assert len(found) == len(SENTENCES)
    return found.set_index("sentence")


def test_what_is_ahead_holds_and_what_is_behind_does_not():
    given = values(
        bleep={"HVG (truth)": 0.4, "HEG (truth)": 0.2, "relative variance distance": 0.5, "variance ratio": 0.3},
        stnet={"HVG (truth)": 0.3, "HEG (truth)": 0.3, "relative variance distance": 0.9, "variance ratio": 0.3},
    )
    found = judged(given)
    assert found.loc["BLEEP predicts highly variable genes better than ST-Net.", "verdict"] == "holds"
    assert found.loc["BLEEP predicts highly expressed genes better than ST-Net.", "verdict"] == "does not hold"
    assert found.loc["BLEEP predicts marker genes better than ST-Net.", "verdict"] == "not measured"
    assert found.loc["BLEEP predicts highly variable genes better than HisToGene.", "verdict"] == "not run"
    nearer = found.loc["The variances of BLEEP's predictions are nearer to the measured ones than those of ST-Net."]
    assert nearer["verdict"] == "holds"  # a distance: less is better
    assert nearer["ahead"] > 0.3
    assert found.loc["BLEEP's predictions vary less than measurements.", "verdict"] == "holds"
    assert found.loc["BLEEP's predictions vary less than measurements.", "ahead"] == pytest.approx(0.695, abs=0.01)


def test_differences_are_paired_and_their_interval_decides():
    given = values(bleep={"HVG (truth)": 0.4}, stnet={"HVG (truth)": 0.4})
    said = "BLEEP predicts highly variable genes better than ST-Net."
    assert judged(given).loc[said, "verdict"] == "cannot be told"
    level = np.array([0.1, 0.3, 0.5, 0.7])
    given["value"] = np.where(given["method"] == "bleep", np.tile(level, 2) + 0.02, np.tile(level, 2))
    found = judged(given).loc[said]
    assert found["verdict"] == "holds"  # by as much on every slide, however much these differ
    assert (found["ahead"], found["lower"], found["upper"]) == pytest.approx((0.02, 0.02, 0.02))
    one = given[given["library"] == "a"]
    assert judged(one).loc[said, "verdict"] == "cannot be told"
    two = given[given["library"].isin(["a", "b"])]  # that agree by chance
    assert judged(two).loc[said, "verdict"] == "cannot be told"
    assert judged(given.sample(frac=1, random_state=0)).loc[said, "verdict"] == "holds"


def test_the_published_bleep_stands_for_bleep_where_there_are_two():
    given = values(bleep={"HVG (truth)": 0.5}, bleep_k50={"HVG (truth)": 0.2}, histogene={"HVG (truth)": 0.3})
    found = judged(given).loc["BLEEP predicts highly variable genes better than HisToGene."]
    assert found["verdict"] == "does not hold"
    assert "(bleep_k50) against " in found["here"]


def test_sentences_say_what_the_paper_numbers_say():
    """Whatever is called better has the higher number in the paper, and the ablation is of the same BLEEP."""
    tables = [each for each in SENTENCES if each.exhibit.startswith("table")]
    assert len(tables) == 2 * 3 + 5 * 3
    for each in tables:
        ahead, behind = (float(number.split(" or ")[0]) for number in each.paper.split(" against "))
        assert ahead > behind, each.says
        assert all({*pair} & {"bleep", "bleep_k50", "bleep_published"} for pair in each.pairs)
    says = [each.says for each in SENTENCES]
    assert len(set(says)) == len(says)
    assert "100 neighbours predict highly variable genes better than 50 neighbours." in says
    assert "50 neighbours predict marker genes better than 100 neighbours." in says
    assert TABLE_1["BLEEP"] == (".217", ".175", ".173")


def test_what_the_ablation_compares_differs_in_one_thing():
    """A loss of CLIP in the default is held against the default, and not against BLEEP as published."""
    given = values(bleep={"HVG (truth)": 0.5}, bleep_published={"HVG (truth)": 0.2}, clip={"HVG (truth)": 0.4})
    found = judged(given).loc["BLEEP's soft targets predict highly variable genes better than CLIP's hard targets."]
    assert found["verdict"] == "holds"
    assert "(bleep) against " in found["here"]
    given = values(bleep_k50={"HVG (truth)": 0.5}, bleep_k100={"HVG (truth)": 0.4})
    found = judged(given)
    assert (
        found.loc["100 neighbours predict highly variable genes better than 50 neighbours.", "verdict"]
        == "does not hold"
    )
    assert found.loc["50 neighbours predict highly variable genes better than 10 neighbours.", "verdict"] == "not run"
