import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from bleep_sc.slides import open_slide
from bleep_sc.slides._shift import shifted_from

HEIGHT, WIDTH, BLOCK = 320, 480, 16


@pytest.fixture
def pixels():
    random = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(random.normal(size=(HEIGHT, WIDTH, 3)), (5, 5, 0))
    return np.clip(170 + 500 * smooth + 2 * random.normal(size=(HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)


def shifted(pixels, row, column, step):
    """Shift all colours from a block on, as a JPEG does."""
    first = row * (WIDTH // BLOCK) + column
    number = np.arange(HEIGHT // BLOCK)[:, None] * (WIDTH // BLOCK) + np.arange(WIDTH // BLOCK)
    mask = np.kron(number >= first, np.ones((BLOCK, BLOCK), dtype=bool))
    return np.clip(pixels + step * mask[..., None], 0, 255).astype(np.uint8)


@pytest.mark.parametrize("step", [-40, -8, 8, 40])
@pytest.mark.parametrize(("row", "column"), [(3, 12), (9, 4), (17, 25)])
def test_the_place_of_a_shift_is_found(row, column, step, pixels):
    x, y = shifted_from(shifted(pixels, row, column, step), (BLOCK, BLOCK))
    assert (abs(x - column * BLOCK) <= BLOCK, y) == (True, row * BLOCK)


def test_edges_seams_and_pictures_that_are_too_small_are_no_shifts(pixels):
    assert shifted_from(pixels, (BLOCK, BLOCK)) is None
    seam = pixels.copy()
    seam[160:] = np.clip(seam[160:].astype(int) - 30, 0, 255)
    stitched = seam.copy()
    stitched[:, 240:] = np.clip(stitched[:, 240:].astype(int) + 25, 0, 255)
    tissue = pixels.copy()
    tissue[96:224, 112:400] //= 2
    for picture in (seam, stitched, tissue, np.full_like(pixels, 255), pixels[:40], pixels[:, :90]):
        assert shifted_from(picture, (BLOCK, BLOCK)) is None


def test_a_jpeg_that_is_shifted_is_warned_of(pixels, tmp_path, caplog):
    Image.fromarray(shifted(pixels, 9, 4, -30)).save(tmp_path / "a.jpg", quality=95)
    with caplog.at_level("WARNING", logger="bleep_sc"), open_slide(tmp_path / "a.jpg") as slide:
        slide.read_region(0, 0, 10, 10)
    assert "a.jpg looks damaged: from x = 64, y = 144 on, its colours are shifted" in caplog.text


def test_real_slides_are_not_shifted(data_folder):
    for path in sorted(data_folder.glob("mob/*.jpg")) + sorted(data_folder.glob("visium_mouse_brain_crop/*.jpg")):
        assert shifted_from(np.asarray(Image.open(path).convert("RGB")), (8, 8)) is None
