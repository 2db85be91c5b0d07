"""The pictures show the patient the way Slicer's views do, with the volumes' own colours."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from MedFusionLib.slicer_app.views.slice_pictures import (
    CAPTION_HEIGHT,
    VIEW_SIZE,
    write_slice_pictures,
)
from MedFusionLib.volumes.volume import Volume

TINT = (10, 200, 30)
SHAPE = (24, 28, 32)


def shaded_block() -> Volume:
    """Block that grows brighter to the patient's right, front and top, in LPS order."""
    k, j, i = np.indices(SHAPE)
    voxels = (1000 + 20 * (k - j - i)).astype(np.int16)
    return Volume(voxels, (2.0, 2.0, 2.0), (-32.0, -28.0, -24.0))


def stored_otherwise(volume: Volume) -> Volume:
    """The same patient in space, with the array turned: K to the back, I to the feet."""
    directions = np.column_stack([(0, 0, -1), (1, 0, 0), (0, 1, 0)]).astype(float)
    voxels = np.ascontiguousarray(volume.voxels[::-1].transpose(1, 2, 0))
    origin = (volume.origin[0], volume.origin[1], volume.origin[2] + 2 * (SHAPE[0] - 1))
    return Volume(voxels, volume.spacing, origin, tuple(directions.ravel()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    tinted = np.full((*SHAPE, 3), TINT, np.uint8)
    reference = shaded_block()
    fused = Volume(tinted, reference.spacing, reference.origin)
    volumes = {"reference": reference, "other": stored_otherwise(reference), "fused": fused}
    return folder, write_slice_pictures(volumes, folder)


def view(folder, plane: str, column: int) -> np.ndarray:
    row = np.asarray(Image.open(folder / f"{plane}.png")).astype(int)
    return row[CAPTION_HEIGHT:, column * VIEW_SIZE : (column + 1) * VIEW_SIZE]


# Radiological views: the patient's right is on the left, and so is the front in a side view.
@pytest.mark.parametrize("plane", ["axial", "sagittal", "coronal"])
def test_right_front_and_top_of_the_patient_are_where_a_radiologist_expects_them(folder, plane):
    block = view(folder[0], plane, 2).any(axis=2)
    rows, columns = (slice(found.min(), found.max() + 1) for found in np.nonzero(block))
    picture = view(folder[0], plane, 0)[rows, columns, 0]
    height, width = picture.shape
    assert min(height, width) > VIEW_SIZE / 2
    assert picture[: height // 2].mean() > picture[height // 2 :].mean() + 30
    assert picture[:, : width // 2].mean() > picture[:, width // 2 :].mean() + 30


@pytest.mark.parametrize("plane", ["axial", "sagittal", "coronal"])
def test_the_order_of_the_array_does_not_change_the_picture(folder, plane):
    difference = np.abs(view(folder[0], plane, 0) - view(folder[0], plane, 1))
    assert difference.max() <= 1


@pytest.mark.parametrize("plane", ["axial", "sagittal", "coronal"])
def test_a_colour_volume_is_shown_in_exactly_its_colours(folder, plane):
    assert tuple(view(folder[0], plane, 2)[VIEW_SIZE // 2, VIEW_SIZE // 2]) == TINT


def test_the_montage_holds_nine_views_and_the_readme_picture_is_narrow(folder):
    names = [path.name for path in folder[1]]
    assert names == ["axial.png", "sagittal.png", "coronal.png", "views.png", "readme.png"]
    assert Image.open(folder[0] / "views.png").size == (1200, 3 * (400 + CAPTION_HEIGHT))
    assert Image.open(folder[0] / "readme.png").size[0] == 900


def test_nothing_is_drawn_when_a_volume_is_missing(tmp_path):
    with pytest.raises(ValueError, match="fused"):
        write_slice_pictures({"reference": shaded_block(), "other": shaded_block()}, tmp_path)
    assert not list(tmp_path.iterdir())
