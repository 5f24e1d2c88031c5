import csv as reader
import io

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from bleep_sc._output import html, text

ODD = [
    r"$\bad{$",
    "a|b",
    "a\nb",
    "<script>alert(1)</script>",
    "=1+1",
    "_x_",
    "**b**",
    "`c`",
    r"\$x$",
    "[a](b)",
    "&amp;",
]


@pytest.mark.parametrize("name", [r"$\bad{$", "$a$", r"\$a$", "$", "$$$", "a_b^c", r"\alpha"])
def test_figures_show_names_as_they_are(name):
    figure, ax = plt.subplots()
    shown = ax.set_title(text.drawn(name))
    figure.canvas.draw()
    assert shown._preprocess_math(shown.get_text()) == (name, False)


def test_legends_leave_out_no_name():
    _, ax = plt.subplots()
    ax.plot([0], [0], label=text.in_legend("_x"))
    assert [each.get_text() for each in ax.legend().get_texts()] == [" _x"]


def test_names_make_no_markup_and_no_new_rows():
    frame = pd.DataFrame({"gene": ODD, "r": range(len(ODD))})
    lines = text.markdown_table(frame).splitlines()
    assert len(lines) == 2 + len(ODD)
    assert lines[2:7] == [
        r"| \$\\bad{\$ | 0 |",
        r"| a\|b | 1 |",
        "| a b | 2 |",
        r"| \<script>alert(1)\</script> | 3 |",
        "| =1+1 | 4 |",
    ]
    assert text.markdown("_x_ [a](b) &amp; HLA_DRA **b**") == r"\_x\_ [a]\(b) \&amp; HLA_DRA \*\*b\*\*"
    assert text.markdown("0.123 [0.1, 0.2], r_max") == "0.123 [0.1, 0.2], r_max"
    assert text.markdown("a\x1b[31mb\r\nc") == "a\N{REPLACEMENT CHARACTER}[31mb c"


def test_code_holds_what_ends_code():
    assert text.code("X_pca") == "`X_pca`"
    assert text.code("a`b``c") == "```a`b``c```"
    assert text.code("`a`") == "`` `a` ``"
    assert text.code("a\n# b") == "`a # b`"


def test_spreadsheets_compute_nothing_and_numbers_stay():
    frame = pd.DataFrame(
        {
            "gene": pd.Categorical(["=1+1", "@x", 'a,"b"', "a\nb", "HAL"]),
            "r": [-0.5, 1.0, None, 2.0, 3.0],
            "slide": ["-x", "+x", "\tx", "\rx", None],
        }
    )
    rows = list(reader.reader(io.StringIO(text.csv(frame), newline="")))
    assert rows == [
        ["gene", "r", "slide"],
        ["'=1+1", "-0.5", "'-x"],
        ["'@x", "1.0", "'+x"],
        ['a,"b"', "", "'\tx"],
        ["a\nb", "2.0", "'\nx"],
        ["HAL", "3.0", ""],
    ]
    assert frame["gene"].tolist()[0] == "=1+1"


def test_pages_show_names_as_they_are_and_whole():
    page = html.page("<b>", "<i>", [("<u>", html.table(pd.DataFrame({"<s>": ["<script>", "x" * 200]})))])
    assert "x" * 200 in page
    for tag in ("b", "i", "u", "s", "script"):
        assert f"<{tag}>" not in page
        assert f"&lt;{tag}&gt;" in page
    assert '"' not in html.figure(b"", '" onload="x').split('alt="')[1].split('">')[0]
