import pandas as pd
import pytest

import bleep_sc as bs

SETS = [("all", "panel"), ("HEG", "reference"), ("HVG", "reference")]


def summary(held_out="another donor", methods=("ridge", "my_own & best")):
    rows = [
        {
            "held_out": held_out,
            "method": method,
            "gene_set": gene_set,
            "genes_from": origin,
            "mean": 0.25,
            "lower": 0.2,
            "upper": 0.3,
            "gain": float("nan") if method == "ridge" else -0.05,
            "gain_lower": float("nan") if method == "ridge" else -0.1,
            "gain_upper": float("nan") if method == "ridge" else 0.02,
        }
        for gene_set, origin in SETS
        for method in methods
    ]
    return pd.DataFrame(rows)


def lines(text):
    return [line.removesuffix(r" \\") for line in text.splitlines() if "&" in line]


def test_a_row_for_every_method_and_a_column_for_every_gene_set():
    text = bs.bm.to_latex(summary())
    assert text.startswith("\\begin{tabular}{llll}\n\\toprule\n")
    cell = "0.250 [0.200, 0.300]"
    assert lines(text) == [
        "method & HEG (reference) & HVG (reference) & all",
        f"ridge & {cell} & {cell} & {cell}",
        rf"my\_own \& best & {cell} & {cell} & {cell}",
    ]


def test_gains_leave_out_what_they_are_over():
    cell = "-0.050 [-0.100, +0.020]"
    assert lines(bs.bm.to_latex(summary(), value="gain"))[1:] == [rf"my\_own \& best & {cell} & {cell} & {cell}"]


def test_gains_name_what_they_are_over():
    head = lines(bs.bm.to_latex(summary().assign(gain_over="ridge"), value="gain"))[0]
    assert head == "gain over ridge & HEG (reference) & HVG (reference) & all"


def test_what_was_held_out_is_said_where_it_is_several_things():
    both = pd.concat([summary("another donor", ["ridge"]), summary("another slide (donors not told)", ["ridge"])])
    text = lines(bs.bm.to_latex(both))
    assert [line.split(" & ")[:2] for line in text] == [
        ["held out from", "method"],
        ["another donor", "ridge"],
        ["another slide (donors not told)", "ridge"],
    ]


def test_one_slide_has_no_interval():
    one = summary().assign(lower=float("nan"), upper=float("nan"))
    assert lines(bs.bm.to_latex(one))[1] == "ridge & 0.250 & 0.250 & 0.250"


def test_another_table_is_refused():
    with pytest.raises(
        KeyError, match=r"summary= lacks 'gain'\. Pass what bleep_sc\.bm\.summarise\(table, against=\.\.\.\)"
    ):
        bs.bm.to_latex(summary().drop(columns=["gain"]), value="gain")
    with pytest.raises(KeyError, match=r"summary= lacks 'mean'\. Pass what bleep_sc\.bm\.summarise\(table\) returned"):
        bs.bm.to_latex(summary().drop(columns="mean"))
