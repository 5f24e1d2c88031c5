"""Cutting spots out of large slides: time and memory of bleep_sc beside the other ways to do it.

Slides that look like H&E are generated, one for each way in which their pixels may be laid out in a file, and patches of
224 px are cut around random spots. Every measurement has a process of its own, so that memory over the baseline, after
imports, is that of the reading alone. Ways that read spot by spot read as many as fit into ``--seconds``, and are told
by the time of one. Slides are removed afterwards, except with ``--keep``.

    python benchmarks/slides.py [--side 30000] [--spots 5000] [--folder FOLDER] [--layouts lzw_rows,jpeg]
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

PX = 224
WHOLE_PASS = ("bleep_sc", "bleep_sc without pyvips", "decode whole, slice")
OURS = WHOLE_PASS[:2]
LAYOUTS = {
    "lzw_rows": "TIFF, strips of 1 row, LZW",
    "jpeg_strips": "TIFF, strips of 16 rows, JPEG",
    "jpeg_tiles": "TIFF, tiles of 256 px, JPEG, pyramid",
    "lzw_one_strip": "TIFF, one strip, LZW",
    "jpeg": "JPEG",
}
WITHOUT_VIPS = ("lzw_one_strip", "jpeg")
"""Layouts that bleep_sc reads otherwise where pyvips is not installed."""
MEMORY_MB, IMAGE_CONTAINER, FASTEST = 700, 20, 1.3
"""Targets: MB at most in tiles and strips, times faster than ImageContainer, and times the time of the fastest other."""
LEAST_SPOTS = 3
PACKAGES = ("bleep-sc", "numpy", "tifffile", "imagecodecs", "pillow", "pyvips", "openslide-python", "zarr", "squidpy")

GLASS, PINK, PURPLE = ([240, 238, 241], [222, 158, 196], [96, 62, 140])
TEXTURE = 2048


def write_raw(path: Path, side: int) -> None:
    """Write a slide as raw RGB: glass, tissue of varying colour, nuclei, fibres, and the noise of a camera."""
    from PIL import Image
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(0)
    smooth = gaussian_filter(random.normal(size=(side // 64 + 2, side // 64 + 2)), 12, mode="wrap")
    tissue = Image.fromarray(np.clip(0.7 + smooth / smooth.std(), 0, 1).astype(np.float32))  # a px for 64 of the slide
    spots = gaussian_filter(random.normal(size=(TEXTURE, TEXTURE)), 5, mode="wrap")
    nuclei = np.clip(spots / spots.std() * 2 - 2, 0, 1).astype(np.float32)
    fibers = gaussian_filter(random.normal(size=(TEXTURE, TEXTURE, 1)), (1, 1, 0), mode="wrap")
    noise = 9 * fibers / fibers.std() + random.normal(0, 2, size=(TEXTURE, TEXTURE, 3))
    noise = noise.astype(np.float32)
    glass, pink, purple = (np.array(color, dtype=np.float32) for color in (GLASS, PINK, PURPLE))
    with path.open("wb") as file:
        for top in range(0, side, 64):
            rows, columns = (
                (np.arange(64) + random.integers(TEXTURE)) % TEXTURE,
                np.arange(side) + random.integers(side),
            )
            places = np.ix_((np.arange(64) + top) % TEXTURE, np.arange(side) % TEXTURE)
            box = (0, top / 64, side / 64, top / 64 + 1)
            share = np.asarray(tissue.resize((side, 64), Image.Resampling.BILINEAR, box))[..., None]  # (64, side, 1)
            stained = pink + nuclei[places][..., None] * (purple - pink)
            band = glass + share * (stained - glass) + noise[np.ix_(rows, columns % TEXTURE)]
            np.clip(band, 0, 255).astype(np.uint8)[: side - top].tofile(file)


def write_layout(layout: str, raw: Path, path: Path, side: int) -> None:
    """Write a raw slide in one layout, in little memory."""
    import pyvips
    import tifffile

    image = pyvips.Image.rawload(str(raw), side, side, 3).copy(interpretation="srgb")
    jpeg = {"compression": "jpeg", "Q": 80}
    match layout:
        case "lzw_rows":
            pixels = np.memmap(raw, np.uint8, "r", shape=(side, side, 3))
            tifffile.imwrite(
                path, pixels, photometric="rgb", compression="lzw", predictor=True, rowsperstrip=1, bigtiff=True
            )
        case "jpeg_strips":
            image.tiffsave(str(path), tile=False, tile_height=16, **jpeg)
        case "jpeg_tiles":
            image.tiffsave(str(path), tile=True, tile_width=256, tile_height=256, pyramid=True, subifd=True, **jpeg)
        case "lzw_one_strip":
            height = -(-side // 16) * 16
            image.tiffsave(str(path), compression="lzw", tile=False, tile_height=height, bigtiff=True)
        case "jpeg":
            image.jpegsave(str(path), Q=80)


Patches = Iterable[tuple[int, np.ndarray]]
"""Rows of the spots, and their patches."""


def ours(path: Path, corners: np.ndarray, without_vips: bool = False) -> Patches:
    """Cut with bleep_sc, batch by batch."""
    if without_vips:
        sys.modules["pyvips"] = None  # type: ignore[assignment]
    from bleep_sc.slides import open_slide, read_patches

    yield -1, None  # imports end here
    with open_slide(path) as slide:
        for rows, patches in read_patches(slide, corners + PX // 2, side=PX, size=PX):
            yield from zip(rows, patches, strict=True)


def decode_whole(path: Path, corners: np.ndarray) -> Patches:
    """Decode the image whole, as the original BLEEP does."""
    import tifffile
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    yield -1, None
    pixels = np.asarray(Image.open(path)) if path.suffix == ".jpg" else tifffile.imread(path)
    for row, (x, y) in enumerate(corners):
        yield row, pixels[y : y + PX, x : x + PX].copy()


def image_container(path: Path, corners: np.ndarray) -> Patches:
    """Crop squidpy's container; its odd crops are cut to size."""
    import warnings

    import squidpy as sq

    yield -1, None
    warnings.simplefilter("ignore")
    container = sq.im.ImageContainer(str(path), lazy=True)
    for row, (x, y) in enumerate(corners):
        crop = container.crop_center(int(y) + PX // 2, int(x) + PX // 2, PX // 2)
        yield row, np.asarray(crop["image"])[:PX, :PX, 0]


def tifffile_zarr(path: Path, corners: np.ndarray) -> Patches:
    """Slice tifffile's zarr store."""
    import tifffile
    import zarr

    yield -1, None
    opened = zarr.open(tifffile.imread(path, aszarr=True), mode="r")
    pixels = opened["0"] if isinstance(opened, zarr.Group) else opened
    for row, (x, y) in enumerate(corners):
        yield row, pixels[y : y + PX, x : x + PX]


def openslide(path: Path, corners: np.ndarray) -> Patches:
    """Read regions with OpenSlide."""
    import openslide

    yield -1, None
    slide = openslide.OpenSlide(path)
    for row, (x, y) in enumerate(corners):
        yield row, np.asarray(slide.read_region((int(x), int(y)), 0, (PX, PX)).convert("RGB"))


def vips_crop(path: Path, corners: np.ndarray) -> Patches:
    """Crop with pyvips, in any order."""
    import pyvips

    yield -1, None
    image = pyvips.Image.new_from_file(str(path), access="random", unlimited=True)
    for row, (x, y) in enumerate(corners):
        yield row, image.crop(int(x), int(y), PX, PX).numpy()


WAYS: dict[str, Callable[[Path, np.ndarray], Patches]] = {
    "bleep_sc": ours,
    "bleep_sc without pyvips": lambda path, corners: ours(path, corners, without_vips=True),
    "decode whole, slice": decode_whole,
    "squidpy ImageContainer": image_container,
    "tifffile, zarr": tifffile_zarr,
    "OpenSlide": openslide,
    "pyvips crop": vips_crop,
}


def ways(layout: str) -> Iterator[str]:
    """Name the ways that can read a layout."""
    for name in WAYS:
        if name == "bleep_sc without pyvips" and layout not in WITHOUT_VIPS:
            continue
        if name == "tifffile, zarr" and layout == "jpeg":
            continue
        yield name


def measure(way: str, path: Path, corners: np.ndarray, seconds: float) -> dict[str, object]:
    """Cut spots in one way, and tell its time, its memory over the baseline, and the colours of the first patches."""
    patches = iter(WAYS[way](path, corners))
    next(patches)
    process, peak, done = psutil.Process(), [0], threading.Event()
    baseline = process.memory_info().rss

    def watch() -> None:
        while not done.wait(0.005):
            peak[0] = max(peak[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    start, cpu, n, colors = time.perf_counter(), time.process_time(), 0, {}
    for row, patch in patches:
        n += 1
        if row < LEAST_SPOTS:
            colors[int(row)] = patch.mean(axis=(0, 1)).tolist()
        if way not in WHOLE_PASS and n >= LEAST_SPOTS and time.perf_counter() - start > seconds:
            break
    elapsed, cpu = time.perf_counter() - start, time.process_time() - cpu
    done.set()
    watcher.join()
    return {
        "spots": n,
        "ms a patch": 1000 * elapsed / n,
        "CPU ms a patch": 1000 * cpu / n,
        "MB": max(0, peak[0] - baseline) / 1e6,
        "colors": [colors[row] for row in range(LEAST_SPOTS)],
    }


def measured_apart(way: str, path: Path, spots: int, side: int, seconds: float) -> dict[str, object] | None:
    """Measure in a fresh process, with the file in the cache of the system; None where the file is not opened."""
    with path.open("rb") as file:
        while file.read(2**26):
            pass
    command = [sys.executable, __file__, "--measure", way, "--file", str(path), "--spots", str(spots)]
    command += ["--side", str(side), "--seconds", str(seconds)]
    temporary = {**os.environ, "TMPDIR": str(path.parent)}
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=temporary)
    if ran.returncode == 0:
        return json.loads(ran.stdout.splitlines()[-1])
    if way in OURS:
        raise RuntimeError(ran.stderr)
    print(f"{way}: {ran.stderr.splitlines()[-1]}", file=sys.stderr, flush=True)
    return None


def run(layout: str, path: Path, arguments: argparse.Namespace) -> pd.DataFrame:
    """Measure all ways one after another, several times, so that other load meets all of them; give the medians."""
    rows, refused = [], set()
    for _ in range(arguments.repeats):
        for way in ways(layout):
            if way in refused:
                continue
            result = measured_apart(way, path, arguments.spots, arguments.side, arguments.seconds)
            if result is None:
                refused.add(way)
                continue
            rows.append({"way": way, **result})
            print(layout, {**rows[-1], "colors": None}, file=sys.stderr, flush=True)
    colors = np.array([row.pop("colors") for row in rows])
    if np.ptp(colors, axis=0).max() > 2:
        raise RuntimeError(f"The ways do not read the same patches of {path.name}.")
    table = pd.DataFrame(rows).groupby("way", sort=False).median()
    return table.reindex(list(ways(layout)))


def ratios(layout: str, table: pd.DataFrame) -> dict[str, str]:
    """Compare with the targets."""
    others = table.drop(index=list(OURS), errors="ignore")["ms a patch"].dropna()
    ms, mb = table.loc["bleep_sc", ["ms a patch", "MB"]]
    bounded = layout not in WITHOUT_VIPS

    def verdict(value: str, met: bool) -> str:
        return f"{value}, {'met' if met else 'missed'}"

    container, fastest = others["squidpy ImageContainer"] / ms, ms / others.min()
    return {
        "layout": LAYOUTS[layout],
        f"MB (at most {MEMORY_MB} in tiles and strips)": verdict(f"{mb:.0f}", mb <= MEMORY_MB)
        if bounded
        else f"{mb:.0f}",
        f"times faster than ImageContainer (at least {IMAGE_CONTAINER})": verdict(
            f"{container:.0f}", container >= IMAGE_CONTAINER
        ),
        f"time over that of the fastest other (at most {FASTEST})": verdict(f"{fastest:.2f}", fastest <= FASTEST),
        "fastest other": str(others.idxmin()),
    }


def markdown(rows: list[dict[str, str]]) -> str:
    """Write rows as a table."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def report(tables: dict[str, pd.DataFrame], arguments: argparse.Namespace, command: str) -> str:
    """Describe the run and the machine, and list what was measured."""
    memory = psutil.virtual_memory().total / 2**30
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    rows = []
    for layout, table in tables.items():
        for way, row in table.iterrows():
            name = {"layout": LAYOUTS[layout], "way": str(way)}
            if np.isnan(row["spots"]):
                rows.append({**name, "ms a patch": "does not open it", "CPU ms": "", "peak MB": "", "spots": ""})
                continue
            ms = {"ms a patch": f"{row['ms a patch']:.2f}", "CPU ms": f"{row['CPU ms a patch']:.2f}"}
            rows.append({**name, **ms, "peak MB": f"{row['MB']:.0f}", "spots": f"{row['spots']:.0f}"})
    return "\n\n".join(
        [
            "# Cutting spots out of large slides",
            f"`{command}`",
            f"Slides of {arguments.side:,} × {arguments.side:,} px, {arguments.spots:,} random spots of {PX} px; median "
            f"of {arguments.repeats}. Peak MB are over the baseline after imports. Ways that read spot by spot read as "
            f"many as fit into {arguments.seconds:.0f} s, at least {LEAST_SPOTS}: see spots.",
            f"Machine: {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}, shared with "
            f"other work, so compare rows, not runs. Python {platform.python_version()}, {packages}.",
            markdown(rows),
            "## Targets",
            markdown([ratios(layout, table) for layout, table in tables.items()]),
        ]
    )


def spots_of(n: int, side: int) -> np.ndarray:
    """Return the upper left px of random spots, (n, 2)."""
    return np.random.default_rng(1).integers(0, side - PX, (n, 2))


def main() -> None:
    """Generate slides, measure, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=30000, help="px of the slides")
    parser.add_argument("--spots", type=int, default=5000)
    parser.add_argument("--layouts", default=",".join(LAYOUTS), help=", ".join(LAYOUTS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=30, help="for ways that read spot by spot")
    parser.add_argument("--folder", type=Path, default=None, help="where slides are written, a few GB")
    parser.add_argument("--keep", action="store_true", help="keep the slides")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "slides.md")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    corners = spots_of(arguments.spots, arguments.side)
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.file, corners, arguments.seconds)))
        return
    folder = Path(tempfile.mkdtemp(prefix="slides_", dir=arguments.folder))
    try:
        write_raw(folder / "slide.raw", arguments.side)
        tables = {}
        for layout in arguments.layouts.split(","):
            path = folder / f"{layout}.{'jpg' if layout == 'jpeg' else 'tif'}"
            write_layout(layout, folder / "slide.raw", path, arguments.side)
            print(f"{path.name}: {path.stat().st_size / 1e6:.0f} MB", file=sys.stderr, flush=True)
            tables[layout] = run(layout, path, arguments)
            if not arguments.keep:
                path.unlink()
    finally:
        if not arguments.keep:
            shutil.rmtree(folder)
    said = f"python benchmarks/slides.py --side {arguments.side} --spots {arguments.spots}"
    text = report(tables, arguments, said)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
