"""What QuPath runs to get a prediction: it imports the outlines of the tiles into the image that is open."""

from __future__ import annotations

from pathlib import Path

SCRIPT = """// In QuPath, open the slide; then drag this file onto the script editor, or Automate > Script editor > Run.
// It adds a detection for every {what}, with its predicted genes as measurements (Measure > Show measurement maps).
def outlines = new File({file})
if (getCurrentImageData() == null)
    throw new IllegalStateException("No image is open. Open " + {slide} + " first, and run this again.")
if (!outlines.isFile())
    throw new FileNotFoundException(outlines.toString() + " is not there. Write in line 3 where it is now.")
if (importObjectsFromFile(outlines.toString()))
    println "Imported " + outlines.getName()
"""


def import_script(outlines: Path, image: str, *, cells: bool = False) -> str:
    """Return a script in Groovy that imports a file of outlines, of tiles or of cells, into an image of a name."""
    what = "cell" if cells else "tile"
    return SCRIPT.format(file=_quoted(str(outlines.resolve())), slide=_quoted(image), what=what)


def _quoted(text: str) -> str:
    """Return a text as Groovy reads it, without anything that it would look into."""
    plain = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return f"'{plain}'"
