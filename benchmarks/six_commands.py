"""From the wheel alone to the page of a slide, in six commands: no checkout, no data, each of them timed.

In an empty folder the wheel is installed into a fresh environment, the demo runs, a published reference is checked, a
scan is predicted from it by its name, and the page is opened. The index of references is served from this machine; that
of packages is the one that pip is set to. Where the package is imported from, and that the page asks nothing of a
network, is looked at, too. References are made by `python benchmarks/make_references.py --out references`.

    python benchmarks/six_commands.py references slide.svs [--mpp 0.5] [--picture page.png]
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import machine
import pandas as pd

from bleep_sc._output.text import markdown_table

ROOT = Path(__file__).parents[1]
BROWSER = "chromium --headless --no-sandbox --disable-gpu --virtual-time-budget=8000 --window-size=1280,1600"
LAST = 3
"""Lines of a command that are printed again."""


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder, and says nothing."""

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class Run:
    """What a command took, and said."""

    command: str
    seconds: float
    cpu_seconds: float
    said: list[str]


def run(command: str, folder: Path, environment: dict[str, str]) -> Run:
    """Run a command in a folder; one that fails ends all."""
    log, start = folder / "said.txt", time.perf_counter()
    with log.open("w") as out:
        process = subprocess.Popen(command, shell=True, cwd=folder, env=environment, stdout=out, stderr=out)
        _, status, used = os.wait4(process.pid, 0)
    seconds, said = time.perf_counter() - start, log.read_text(errors="replace").splitlines()
    log.unlink()
    if status != 0:
        raise SystemExit("\n".join([f"{command} failed:", *said[-20:]]))
    return Run(command, seconds, used.ru_utime + used.ru_stime, said)


def built(folder: Path) -> Path:
    """Build the wheel of this checkout."""
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT)],
        check=True,
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


def asks_for(page: str) -> list[str]:
    """Return what a page would fetch: nothing, where it stands alone."""
    markup = re.sub(r"(<script[^>]*>).*?</script>", r"\1", page, flags=re.DOTALL)
    return re.findall(r"<(?:script|img|link|iframe)\b[^>]*?(?:src|href)=\"(?!data:)([^\"]*)", markup)


def main() -> None:
    """Run the commands, and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("references", type=Path, help="Folder with index.json.")
    parser.add_argument("slide", type=Path)
    parser.add_argument("--ref", default="mouse-olfactory-bulb")
    parser.add_argument("--mpp", default=None, help="Of the slide, where its file does not say.")
    parser.add_argument("--spacing", default="100")
    parser.add_argument("--picture", type=Path, default=Path("page.png"), help="Of the page, as a browser draws it.")
    arguments = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(arguments.references)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as made, tempfile.TemporaryDirectory() as empty:
        wheel, folder = built(Path(made)), Path(empty)
        slide = shutil.copy(arguments.slide, folder)
        name = Path(slide).name
        mpp = "" if arguments.mpp is None else f" --mpp {arguments.mpp}"
        user = environment(folder, server.server_address[1])
        impute = f"env/bin/bleep-sc impute {name} --ref {arguments.ref}{mpp} --spacing {arguments.spacing}"
        commands = (
            "python3 -m venv env",
            f"env/bin/pip install -q {wheel}",
            "env/bin/bleep-sc demo",
            f"env/bin/bleep-sc check {arguments.ref}",
            f"{impute} --out slide.zarr",
            f"{BROWSER} --screenshot=page.png slide.html",
        )
        runs = [run(command, folder, user) for command in commands]
        where = run("env/bin/python -c 'import bleep_sc; print(bleep_sc.__file__)'", folder, user).said
        page = (folder / "slide.html").read_text()
        shutil.move(folder / "page.png", arguments.picture)
        report(runs, where[-1].replace(str(folder), ""), page, wheel)


def environment(folder: Path, port: int) -> dict[str, str]:
    """Return the variables of a user who has nothing: those of pip, and where references are."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name in ("PATH", "LANG")}
    return {**kept, "HOME": str(folder), "BLEEP_SC_REFERENCES": f"http://127.0.0.1:{port}"}


def report(runs: list[Run], where: str, page: str, wheel: Path) -> None:
    """Print what the commands took, what they said last, and what was looked at."""
    shown = [each.command.replace(str(wheel), wheel.name).replace(BROWSER, "chromium --headless") for each in runs]
    rows = {
        "command": shown,
        "s": [round(each.seconds, 1) for each in runs],
        "s of the processor": [round(each.cpu_seconds, 1) for each in runs],
    }
    print(f"{machine.describe()}\n\n{markdown_table(pd.DataFrame(rows))}")
    total = sum(each.seconds for each in runs)
    print(f"All: {total:.0f} s. Imported from {where}; the wheel has {wheel.stat().st_size / 1e6:.2f} MB.")
    print(f"slide.html has {len(page.encode()) / 1e6:.1f} MB and asks for {asks_for(page) or 'nothing else'}.")
    for each in runs[2:5]:
        print("\n```text", *each.said[-LAST:], "```", sep="\n")


if __name__ == "__main__":
    main()
