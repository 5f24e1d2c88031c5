"""Which sentences of the paper hold on which tissue: the reports of ``bleep-sc benchmark`` side by side.

bleep-sc benchmark --data her2st --small --ablation --seeds 3 --out FOLDER/her2st   # and mob, toy
python benchmarks/paper_claims.py FOLDER/her2st FOLDER/mob FOLDER/toy
"""

import argparse
from pathlib import Path

import pandas as pd

from bleep_sc._output.text import markdown_table
from bleep_sc.bm._exhibits import in_words

INTRO = "Numbers are those of the paper (human liver), and here means over held-out slides, with whose they are."


def main() -> None:
    """Print a row for every sentence, and two columns for every tissue and question."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", help="folders of reports; their names are the tissues")
    print(INTRO + "\n\n" + markdown_table(side_by_side(parser.parse_args().folders)))


def side_by_side(folders: list[Path]) -> pd.DataFrame:
    """Return the sentences, with the numbers and the verdict of every report."""
    result = None
    for folder in folders:
        for question, said in pd.read_csv(folder / "sentences.csv", keep_default_na=False).groupby(
            "held_out", sort=False
        ):
            numbers = ["ahead", "lower", "upper"]
            said = said.assign(**said[numbers].apply(pd.to_numeric, errors="coerce")).reset_index(drop=True)
            words = in_words(said)
            if result is None:
                result = words[["sentence", "exhibit", "paper"]].copy()
            result[f"{folder.name}, {question}"] = words["verdict"]
            result[f"{folder.name}, {question}: here"] = [
                f"{here}; ahead by {ahead}" if here else ""
                for here, ahead in zip(words["here"], words["ahead by"], strict=True)
            ]
    return result


if __name__ == "__main__":
    main()
