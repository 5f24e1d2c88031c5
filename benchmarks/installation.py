"""Megabytes that `pip install bleep-sc` puts on the disk, by what needs them, and seconds that it takes.

Counted from the files that the packages of this environment say are theirs, in blocks of 4 KiB as disks do. What a
requirement adds is what would be missing without it: what others of the list bring anyway counts for none of them.

With --install it is installed into fresh environments instead, and what that takes is printed: as pip does it, and once
more after packages that are given, such as a torch for CPUs with the torchvision that matches it. Packages come from
pip's cache, where they are there.

    python benchmarks/installation.py [--cpu-wheel torch-2.13.0+cpu-....whl]
    python benchmarks/installation.py --install [torch==2.13.0+cpu torchvision==0.28.0+cpu]
"""

import argparse
import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from functools import cache
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

BLOCK = 4096
CUDA = ("nvidia-", "cuda-", "triton")
EXTRAS = ("wsi", "faiss", "hub", "timm", "transformers", "open-clip")


@cache
def installed(name: str) -> importlib.metadata.Distribution | None:
    """Return a package of this environment."""
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def on_disk(n_bytes: int) -> float:
    """Return the megabytes that a file takes."""
    return -(-n_bytes // BLOCK) * BLOCK / 1e6


@cache
def megabytes(name: str) -> float:
    """Return what a package takes by itself."""
    package = installed(name)
    files = [Path(str(package.locate_file(file))) for file in package.files or []] if package else []
    return sum(on_disk(file.stat().st_size) for file in files if file.exists())


def requirements(name: str, extras: frozenset[str] = frozenset()) -> set[tuple[str, frozenset[str]]]:
    """Return the packages that one asks for, and with which extras."""
    package = installed(name)
    asked = map(Requirement, (package.requires or []) if package else [])
    return {
        (canonicalize_name(each.name), frozenset(each.extras))
        for each in asked
        if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in ("", *extras))
    }


def needed(roots: set[tuple[str, frozenset[str]]]) -> set[str]:
    """Return the names of all packages that some need, these included."""
    known: set[tuple[str, frozenset[str]]] = set()
    left = list(roots)
    while left:
        if (package := left.pop()) not in known:
            known.add(package)
            left += requirements(*package)
    return {name for name, _ in known}


def install(first: list[str]) -> None:
    """Print what an installation into a fresh environment takes, after that of some packages."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [f"{folder}/bin/python", "-m", "pip", "install", "--quiet"]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        for packages in ([first] if first else []) + [[str(Path(__file__).parent.parent)]]:
            subprocess.run([*pip, *packages], check=True, env=environment)
        seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
        files = [path.lstat().st_size for path in Path(folder).rglob("*") if path.is_file() and not path.is_symlink()]
        size = sum(map(on_disk, files))
        print(
            f"| {', '.join(first) or 'as pip does it'} | {seconds:.0f} | {user:.0f} + {system:.0f} | {size:,.0f} |",
            flush=True,
        )


def main() -> None:
    """Print the tables, or what installing takes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cpu-wheel", type=Path, default=None)
    parser.add_argument("--install", nargs="*", metavar="PACKAGE", help="packages that are installed before")
    arguments = parser.parse_args()
    if arguments.install is not None:
        print("| | s | s of the processor, pip and the system for it | MB |\n|---|---|---|---|")
        for first in [[], arguments.install] if arguments.install else [[]]:
            install(first)
        return
    asked = requirements("bleep-sc")
    packages = needed(asked)
    total = sum(map(megabytes, packages))
    cuda = {name for name in packages if name.startswith(CUDA)}
    rows = {"CUDA and Triton, which torch for Linux brings": cuda, "torch itself": {"torch"}}
    own = {name: packages - needed({each for each in asked if each[0] != name}) for name, _ in asked}
    shared = packages - cuda - {"torch"} - set().union(*own.values())
    own = {name: added - cuda - {"torch"} for name, added in own.items()}
    print(
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, {len(packages)} packages", "\n"
    )
    print("| | packages | MB | of all |\n|---|---|---|---|")
    rows |= {"what several requirements share": shared}
    rows |= {f"{name} alone": added for name, added in sorted(own.items()) if sum(map(megabytes, added)) >= 0.05}
    for what, names in sorted(rows.items(), key=lambda row: -sum(map(megabytes, row[1]))):
        size = sum(map(megabytes, names))
        print(f"| {what} | {len(names)} | {size:,.1f} | {100 * size / total:.1f} % |")
    print(f"| all | {len(packages)} | {total:,.0f} | 100 % |", "\n")
    print(
        "The largest that are shared:",
        ", ".join(f"{name} {megabytes(name):.0f}" for name in sorted(shared, key=megabytes, reverse=True)[:12]),
        "\n",
    )
    print("| extra | adds MB |\n|---|---|")
    for extra in EXTRAS:
        added = needed(asked | requirements("bleep-sc", frozenset({extra}))) - packages
        print(f"| {extra} | {sum(map(megabytes, added)):,.0f} |")
    if arguments.cpu_wheel is not None:
        with zipfile.ZipFile(arguments.cpu_wheel) as wheel:
            cpu = sum(on_disk(each.file_size) for each in wheel.infolist())
        others = total - sum(map(megabytes, cuda | {"torch"}))
        print(f"\n{arguments.cpu_wheel.name}: {cpu:,.0f} MB. All with it: {others + cpu:,.0f} MB")


if __name__ == "__main__":
    main()
