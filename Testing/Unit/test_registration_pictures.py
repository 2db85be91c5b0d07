"""The pictures that let the eye check an alignment."""

from __future__ import annotations

import numpy as np
import SimpleITK

from MedFusionLib.registration.pictures import quality_pictures, write_pictures
from MedFusionLib.volumes.volume import Volume


def block(low, spacing=(1.0, 1.0, 4.0)):
    """A bright block on a dark ground; the volume is 48 mm wide along every axis."""
    voxels = np.zeros((12, 48, 48), np.float32)
    voxels[3:9, low : low + 24, 12:36] = 100.0
    return Volume(voxels, spacing, (0.0, 0.0, 0.0))


def test_there_is_a_checkerboard_and_an_edge_picture_of_each_plane_with_square_pixels():
    pictures = quality_pictures(block(12), block(12))
    kinds = {name.split("-")[1] for name in pictures}
    assert kinds == {"checkerboard", "edges"} and len(pictures) == 6
    assert all(picture.shape[:2] == (192, 192) for picture in pictures.values())
    assert all(picture.dtype == np.uint8 for picture in pictures.values())


def test_a_checkerboard_of_a_volume_with_itself_is_the_volume_and_a_shift_breaks_it():
    whole = quality_pictures(block(12), block(12))["axial-checkerboard"]
    rows, columns = np.nonzero(whole > 127)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (48, 143, 48, 143)
    assert len(rows) >= 96 * 96 - 4 and set(np.unique(whole[52:140, 52:140])) == {255}
    shifted = quality_pictures(block(12), block(16))["axial-checkerboard"]
    differs = np.argwhere((shifted > 127) != (whole > 127))
    assert len(differs) > 0 and set(differs[:, 0]) <= set(range(48, 65)) | set(range(143, 161))


def test_a_volume_is_drawn_large_and_through_its_own_window():
    """Each volume's grey values: a dark volume, and one whose rim is far brighter than the rest."""
    k, j, i = np.indices((40, 40, 40))
    radius = np.sqrt((k - 20) ** 2 + (j - 20) ** 2 + (i - 20) ** 2)
    inner = np.where(i < 20, 20, 40) * (radius < 17)
    dark = Volume(inner.astype(np.uint8), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), modality="MR")
    fatty = Volume(
        np.where((radius > 16) & (radius < 17), 1200, 10 * inner).astype(np.int16),
        dark.spacing,
        dark.origin,
        modality="MR",
    )
    board = quality_pictures(dark, fatty)["axial-checkerboard"]
    assert board.shape == (160, 160)
    middle = board[60:100]
    bright, half_as_bright = middle[:, 84:124], middle[:, 36:76]
    assert bright.min() > 150 and half_as_bright.min() > 70 and half_as_bright.max() < 190


def test_computed_tomography_is_drawn_through_a_window_of_soft_tissue():
    k, j, i = np.indices((40, 40, 40))
    radius = np.sqrt((k - 20) ** 2 + (j - 20) ** 2 + (i - 20) ** 2)
    skull = np.where(radius < 17, 1200, -1000)
    hounsfield = np.where(radius < 14, np.where(i < 20, 0, 100), skull).astype(np.int16)
    ct = Volume(hounsfield, (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), modality="CT")
    board = quality_pictures(ct, ct)["axial-checkerboard"]
    left, right = (
        int(np.median(board[70:90, columns])) for columns in (slice(50, 70), slice(90, 110))
    )
    assert right - left > 40 and board[80, 80 + 4 * 15] == 255 and board[2, 2] == 0


def test_edges_of_the_reference_lie_on_the_other_volumes_grey_values():
    picture = quality_pictures(block(12), block(16))["axial-edges"]
    yellow = (picture == (255, 220, 0)).all(axis=2)
    rows = np.flatnonzero(yellow[:, 80:112].all(axis=1))
    assert (
        rows.min() >= 36 and rows.max() <= 155 and {47, 48} & set(rows) and {143, 144} & set(rows)
    )
    grey = picture[~yellow]
    assert (grey == grey[:, :1]).all()


def test_written_pictures_read_back_as_they_were(tmp_path):
    pictures = quality_pictures(block(12), block(16))
    for file in write_pictures(pictures, tmp_path):
        read = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file)))
        assert np.array_equal(read, pictures[file.stem])
