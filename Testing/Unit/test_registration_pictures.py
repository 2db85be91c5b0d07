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
    assert all(picture.shape[:2] == (48, 48) for picture in pictures.values())
    assert all(picture.dtype == np.uint8 for picture in pictures.values())


def test_a_checkerboard_of_a_volume_with_itself_is_the_volume_and_a_shift_breaks_it():
    whole = quality_pictures(block(12), block(12))["axial-checkerboard"]
    assert set(np.unique(whole)) == {0, 255}
    assert np.count_nonzero(whole) == 24 * 24
    shifted = quality_pictures(block(12), block(16))["axial-checkerboard"]
    differs = np.argwhere(shifted != whole)
    assert len(differs) > 0 and set(differs[:, 0]) <= set(range(12, 16)) | set(range(36, 40))


def test_edges_of_the_reference_lie_on_the_other_volumes_grey_values():
    picture = quality_pictures(block(12), block(16))["axial-edges"]
    yellow = (picture == (255, 220, 0)).all(axis=2)
    rows = np.flatnonzero(yellow[:, 20:28].all(axis=1))
    assert rows.min() >= 9 and rows.max() <= 38 and {11, 12} & set(rows) and {35, 36} & set(rows)
    grey = picture[~yellow]
    assert (grey == grey[:, :1]).all()


def test_written_pictures_read_back_as_they_were(tmp_path):
    pictures = quality_pictures(block(12), block(16))
    for file in write_pictures(pictures, tmp_path):
        read = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file)))
        assert np.array_equal(read, pictures[file.stem])
