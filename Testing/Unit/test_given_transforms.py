"""Transforms from files and from callers that cannot lay one head on another."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK

from MedFusionLib.errors import InputError
from MedFusionLib.fusion import fuse
from MedFusionLib.registration.overlap import read_transform
from MedFusionLib.registration.transforms import write_transform
from MedFusionLib.volumes.volume import Volume

ROTATION = "0.98 -0.199 0 0.199 0.98 0 0 0 1"


def affine_text(parameters, index=0, dimension=3):
    return (
        f"#Transform {index}\nTransform: AffineTransform_double_{dimension}_{dimension}\n"
        f"Parameters: {parameters}\nFixedParameters: {'0 ' * dimension}\n"
    )


def saved(folder, *transforms):
    place = folder / "t.tfm"
    place.write_text("#Insight Transform File V1.0\n" + "".join(transforms))
    return place


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ("0 " * 12, "squeezes space flat"),
        ("1 0 0 0 1 0 0 0 0 0 0 0", "squeezes space flat"),
        ("-1 0 0 0 1 0 0 0 1 0 0 0", "turns left into right"),
        ("0.001 0 0 0 0.001 0 0 0 0.001 0 0 0", "scales by 0.001"),
        ("25.4 0 0 0 25.4 0 0 0 25.4 0 0 0", r"scales by .* to 25\.4"),
        ("1 3 0 0 1 0 0 0 1 0 0 0", "scales by"),
        ("nan 0 0 0 1 0 0 0 1 0 0 0", "NaN|not a transform"),
        ("1 0 0 0 1 0 0 0 1 inf 0 0", "NaN|not a transform"),
        ("1 0 0 0 1 0", "not a transform"),
    ],
)
def test_a_matrix_that_no_head_follows_is_refused(tmp_path, capfd, parameters, words):
    with pytest.raises(InputError, match=words):
        read_transform(saved(tmp_path, affine_text(parameters)))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("parameters", [f"{ROTATION} 1 2 3", "1.9 0 0 0 0.6 0 0 0 1.1 5 5 5"])
def test_a_matrix_that_a_head_can_follow_is_read(tmp_path, parameters):
    transform = read_transform(saved(tmp_path, affine_text(parameters)))
    numbers = np.array(parameters.split(), float)
    expected = numbers[:9].reshape(3, 3) @ [10, 20, 30] + numbers[9:]
    assert np.allclose(transform.TransformPoint((10.0, 20.0, 30.0)), expected)


def test_a_plane_transform_is_refused(tmp_path):
    with pytest.raises(InputError, match="2-dimensional"):
        read_transform(saved(tmp_path, affine_text("1 0 0 1 0 0", dimension=2)))


def test_several_transforms_in_one_file_are_refused(tmp_path, capfd):
    one, two = affine_text(f"{ROTATION} 1 2 3"), affine_text(f"{ROTATION} 9 9 9", 1)
    with pytest.raises(InputError, match="several transforms"):
        read_transform(saved(tmp_path, one, two))
    assert capfd.readouterr().err == ""


def test_a_composite_is_one_transform_and_each_part_is_looked_at(tmp_path):
    shift = SimpleITK.TranslationTransform(3, (1.0, 2.0, 3.0))
    place = str(tmp_path / "c.tfm")
    SimpleITK.WriteTransform(SimpleITK.CompositeTransform([shift, shift]), place)
    assert read_transform(place).TransformPoint((0.0, 0.0, 0.0)) == (2.0, 4.0, 6.0)
    mirror = SimpleITK.AffineTransform(3)
    mirror.SetMatrix((-1, 0, 0, 0, 1, 0, 0, 0, 1))
    # Two mirrors make a rotation; each alone is still no way from head to head.
    SimpleITK.WriteTransform(SimpleITK.CompositeTransform([mirror, mirror]), place)
    with pytest.raises(InputError, match="left into right"):
        read_transform(place)


def field(value=0.0):
    vectors = np.zeros((4, 5, 6, 3))
    vectors[2, 2, 2, 1] = value
    return SimpleITK.DisplacementFieldTransform(SimpleITK.GetImageFromArray(vectors, isVector=True))


def test_a_displacement_field_is_read_unless_it_holds_nan(tmp_path):
    SimpleITK.WriteTransform(field(1.5), str(tmp_path / "f.h5"))
    moved = read_transform(tmp_path / "f.h5").TransformPoint((2.0, 2.0, 2.0))
    assert np.allclose(moved, (2.0, 3.5, 2.0))
    for broken in (np.nan, np.inf):
        SimpleITK.WriteTransform(field(broken), str(tmp_path / "f.h5"))
        with pytest.raises(InputError, match="NaN or infinite displacements"):
            read_transform(tmp_path / "f.h5")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_hdf5_file_is_refused_without_noise(tmp_path, capfd, share):
    whole = tmp_path / "f.h5"
    SimpleITK.WriteTransform(field(1.5), str(whole))
    content = whole.read_bytes()
    whole.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match="truncated"):
        read_transform(whole)
    assert capfd.readouterr() == ("", "")


def test_a_folder_is_no_transform(tmp_path):
    with pytest.raises(InputError, match="is a folder"):
        read_transform(tmp_path)


@pytest.mark.parametrize("suffix", [".tfm", ".h5", ".TFM", ".H5"])
def test_a_written_transform_reads_back(tmp_path, suffix):
    turn = SimpleITK.Euler3DTransform((1, 2, 3), 0.1, 0.2, 0.3, (4, 5, 6))
    write_transform(turn, tmp_path / f"t{suffix}")
    assert [path.name for path in tmp_path.iterdir()] == [f"t{suffix}"]
    point = (7.0, 8.0, 9.0)
    again = read_transform(tmp_path / f"t{suffix}")
    assert np.allclose(again.TransformPoint(point), turn.TransformPoint(point))


@pytest.mark.parametrize("keywords", [{}, {"initial": True}])
def test_a_caller_of_fuse_is_held_to_the_same(keywords):
    voxels = np.random.default_rng(0).random((4, 12, 12)).astype(np.float32)
    volume = Volume(voxels, (1, 1, 1), (0, 0, 0))
    mirror = SimpleITK.AffineTransform(3)
    mirror.SetMatrix((-1, 0, 0, 0, 1, 0, 0, 0, 1))
    given = {"alignment": "rigid", "initial": mirror} if keywords else {"alignment": mirror}
    with pytest.raises(InputError, match="left into right"):
        fuse(volume, volume, "average", **given)
