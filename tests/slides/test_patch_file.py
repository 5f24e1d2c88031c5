import h5py
import numpy as np
import pytest
import torch

from bleep_sc.slides._patch_file import read_patch_features, read_patch_file

CORNERS = np.array([[0, 0], [512, 0], [512, 1024]])
FEATURES = np.arange(12, dtype=np.float16).reshape(3, 4)
TRIDENT = {
    **{
        "patch_size": 256,
        "patch_size_level0": 512,
        "level0_magnification": 40,
        "target_magnification": 20,
        "overlap": 0,
    },
    **{"name": "slide", "savetodir": "None", "level0_width": 4000, "level0_height": 3000},
}
CLAM = {
    **{"patch_size": 256, "patch_level": 1, "downsample": (4.0, 4.0), "downsampled_level_dim": (1000, 750)},
    **{"level_dim": (1000, 750), "name": "slide", "save_path": "patches"},
}


def written(path, attributes, *, coords=CORNERS, **datasets):
    with h5py.File(path, "w") as file:
        file.create_dataset("coords", data=coords, chunks=True, maxshape=(None, *coords.shape[1:]))
        file["coords"].attrs.update(attributes)
        for name, values in datasets.items():
            file[name] = values
    return path


@pytest.mark.parametrize(
    ("attributes", "side", "size"),
    [
        (TRIDENT, 512, 256),
        (CLAM, 1024, 256),
        ({**CLAM, "custom_downsample": 2}, 2048, 256),
        ({"patch_size": 256, "patch_level": 0}, 256, 256),
        ({"patch_size": 256, "patch_level": 1}, None, 256),
        ({}, None, None),
        ({"patch_size": "None", "patch_size_level0": "None"}, None, None),
    ],
)
def test_sides_are_px_of_the_full_resolution(attributes, side, size, tmp_path):
    file = read_patch_file(written(tmp_path / "a.h5", attributes))
    assert (file.side_px, file.size) == (side, size)
    np.testing.assert_array_equal(file.corners, CORNERS)
    if side is not None:
        np.testing.assert_array_equal(file.centers(), CORNERS + side // 2)
    np.testing.assert_array_equal(file.centers(100), CORNERS + 50)


def test_a_side_that_is_nowhere_is_asked_for(tmp_path):
    with pytest.raises(ValueError, match=r"a.h5' names corners of patches, and not their side.*Pass side_px="):
        read_patch_file(written(tmp_path / "a.h5", {})).centers()


def test_features_may_be_a_batch_of_one(tmp_path):
    for name, extra in (("a", ()), ("b", (None,))):
        path = written(tmp_path / f"{name}.h5", TRIDENT, coords=CORNERS[extra], features=FEATURES[extra])
        np.testing.assert_array_equal(read_patch_features(path), FEATURES)
        assert read_patch_features(path).dtype == np.float32
        np.testing.assert_array_equal(read_patch_file(path).corners, CORNERS)


def test_other_files_are_refused(tmp_path):
    torch.save(torch.zeros(3, 4), tmp_path / "a.pt")
    for path, error, message in (
        (tmp_path / "none.h5", FileNotFoundError, r"none.h5' not found\. Pass the HDF5 file"),
        (tmp_path / "a.pt", ValueError, r"is no HDF5 file.*take the .h5 beside it"),
        (written(tmp_path / "b.h5", {}), KeyError, r"'features' not found in .*it has: 'coords'.*TRIDENT and CLAM"),
        (
            written(tmp_path / "c.h5", {}, features=FEATURES[:2]),
            ValueError,
            "features of 2 patches, and coordinates of 3",
        ),
        (written(tmp_path / "d.h5", {}, features=FEATURES * np.nan), ValueError, "hold NaN or infinite"),
        (written(tmp_path / "e.h5", {}, features=FEATURES[0]), ValueError, r"'features' of .* has shape \(4,\)"),
    ):
        with pytest.raises(error, match=message):
            read_patch_features(path)
    with pytest.raises(ValueError, match=r"'coords' of .* has shape \(3, 1\)"):
        read_patch_file(written(tmp_path / "f.h5", {}, coords=CORNERS[:, :1]))
