"""NRRD, MetaImage and MGZ files that are cut, damaged, or do not say where their voxels lie."""

from __future__ import annotations

import gzip
import shutil

import numpy as np
import pytest
import SimpleITK

from MedFusionLib.errors import InputError
from MedFusionLib.volumes.files import read_volume, write_volume
from MedFusionLib.volumes.volume import Volume

TURN = SimpleITK.Euler3DTransform((0, 0, 0), 0.2, -0.1, 0.4).GetMatrix()


@pytest.fixture
def volume():
    voxels = np.random.default_rng(0).integers(0, 3000, (9, 8, 7), dtype=np.int16)
    return Volume(voxels, (0.9, 1.1, 2.5), (-12.5, 33.25, 7.0), TURN)


def image_of(volume):
    image = SimpleITK.GetImageFromArray(volume.voxels)
    image.SetSpacing(volume.spacing)
    image.SetOrigin(volume.origin)
    image.SetDirection(volume.directions)
    return image


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".mgz", ".nii.gz"])
def test_no_flipped_byte_of_packed_voxels_goes_unnoticed(tmp_path, volume, suffix):
    place = tmp_path / f"x{suffix}"
    write_volume(volume, place)
    content = place.read_bytes()
    for at in np.linspace(len(content) * 0.6, len(content) - 1, 12).astype(int):
        flipped = bytearray(content)
        flipped[at] ^= 0x10
        place.write_bytes(flipped)
        with pytest.raises(InputError, match="damaged"):
            read_volume(place)


PLAIN = [".nrrd", ".nhdr", ".mha", ".mhd"]


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("suffix", PLAIN)
def test_missing_and_surplus_bytes_are_refused(tmp_path, volume, suffix, packed):
    place = tmp_path / f"x{suffix}"
    SimpleITK.WriteImage(image_of(volume), str(place), packed)
    data = next((p for p in sorted(tmp_path.iterdir()) if p.name != place.name), place)
    assert np.array_equal(read_volume(place).voxels, volume.voxels)
    content = data.read_bytes()
    for changed in (content[:-2], content[: len(content) * 3 // 4], content + b"\0\0"):
        data.write_bytes(changed)
        with pytest.raises(InputError, match=r"truncated|damaged"):
            read_volume(place)


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
def test_a_header_without_its_voxel_file_is_refused_with_the_name(tmp_path, volume, suffix):
    place = tmp_path / f"x{suffix}"
    SimpleITK.WriteImage(image_of(volume), str(place), False)
    (tmp_path / "x.raw").unlink()
    with pytest.raises(InputError, match=r"'x\.raw', which is not there"):
        read_volume(place)


@pytest.mark.parametrize("suffix", [".NRRD", ".MHA", ".MGZ", ".Nhdr", ".MHD"])
def test_upper_case_endings_are_known(tmp_path, volume, suffix):
    plain = tmp_path / f"x{suffix.lower()}"
    if suffix == ".MGZ":
        write_volume(volume, plain)
    else:
        SimpleITK.WriteImage(image_of(volume), str(plain))
    shutil.move(plain, tmp_path / f"Y{suffix}")
    assert np.array_equal(read_volume(tmp_path / f"Y{suffix}").voxels, volume.voxels)


def edited(path, *changes):
    content = path.read_bytes()
    for old, new in changes:
        assert old in content
        content = content.replace(old, new)
    path.write_bytes(content)
    return path


def without(path, line):
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join(each for each in lines if not each.startswith(line)))
    return path


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"space: ", "how its axes lie"),
        (b"space directions: ", "how its axes lie"),
        (b"space origin: ", "where its first voxel lies"),
        (b"endian: ", "in which order"),
    ],
)
def test_an_nrrd_file_that_does_not_say_its_place_is_refused(tmp_path, volume, line, words):
    place = tmp_path / "x.nrrd"
    SimpleITK.WriteImage(image_of(volume), str(place), False)
    with pytest.raises(InputError, match=words):
        read_volume(without(place, line))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"ElementSpacing", "how far its voxels lie apart"),
        (b"TransformMatrix", "how its axes lie"),
        (b"Offset", "where its first voxel lies"),
    ],
)
def test_a_metaimage_that_does_not_say_its_place_is_refused(tmp_path, volume, line, words):
    place = tmp_path / "x.mha"
    SimpleITK.WriteImage(image_of(volume), str(place), False)
    with pytest.raises(InputError, match=words):
        read_volume(without(place, line))


@pytest.mark.parametrize(
    ("added", "words"),
    [
        (b'space units: "m" "m" "m"\n', "lengths in m"),
        (b"byte skip: 2\nline skip: 1\n", "skips"),
        (b"encoding: bzip2\n", "packed by"),
    ],
)
def test_what_itk_would_pass_over_in_an_nrrd_header_is_refused(tmp_path, volume, added, words):
    place = tmp_path / "x.nrrd"
    SimpleITK.WriteImage(image_of(volume), str(place), False)
    if added.startswith(b"encoding"):
        without(place, b"encoding")
    with pytest.raises(InputError, match=words):
        read_volume(edited(place, (b"kinds:", added + b"kinds:")))


@pytest.mark.parametrize("space", [b"scanner-xyz", b"3D-right-handed", b"left-posterior-inferior"])
def test_a_space_that_is_no_patients_is_refused(tmp_path, volume, space):
    place = tmp_path / "x.nrrd"
    SimpleITK.WriteImage(image_of(volume), str(place), False)
    with pytest.raises(InputError, match="not one of a patient"):
        read_volume(edited(place, (b"left-posterior-superior", space)))


@pytest.mark.parametrize(
    ("space", "signs"),
    [(b"right-anterior-superior", (-1, -1, 1)), (b"LAS", (1, -1, 1)), (b"LPS", (1, 1, 1))],
)
def test_the_patient_spaces_of_nrrd_are_brought_to_lps(tmp_path, volume, space, signs):
    place = tmp_path / "x.nrrd"
    SimpleITK.WriteImage(image_of(volume), str(place), False)
    read = read_volume(edited(place, (b"left-posterior-superior", space)))
    assert np.allclose(read.affine_lps, np.diag([*signs, 1]) @ volume.affine_lps)


@pytest.mark.parametrize(
    ("added", "words"),
    [
        (b"ElementToIntensityFunctionSlope = 2\n", "scaled"),
        (b"DistanceUnits = cm\n", "lengths in cm"),
        (b"ElementSpacing = 1 1 1\n", "twice"),
        (b"Position = 0 0 0\n", "contradict"),
    ],
)
def test_what_itk_would_pass_over_in_a_metaimage_is_refused(tmp_path, volume, added, words):
    place = tmp_path / "x.mha"
    SimpleITK.WriteImage(image_of(volume), str(place), False)
    with pytest.raises(InputError, match=words):
        read_volume(edited(place, (b"DimSize", added + b"DimSize")))


def test_a_list_of_three_volumes_is_not_taken_for_a_colour(tmp_path, volume):
    colour = SimpleITK.Compose(*[image_of(volume)] * 3)
    SimpleITK.WriteImage(colour, str(tmp_path / "x.nrrd"), False)
    assert read_volume(tmp_path / "x.nrrd").is_colour
    with pytest.raises(InputError, match="4D"):
        read_volume(edited(tmp_path / "x.nrrd", (b"kinds: vector", b"kinds: list")))


def test_an_mgz_file_without_a_valid_position_is_refused(tmp_path, volume):
    write_volume(volume, tmp_path / "x.mgz")
    content = bytearray(gzip.decompress((tmp_path / "x.mgz").read_bytes()))
    content[28:30] = b"\0\0"  # goodRASFlag
    (tmp_path / "x.mgz").write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(InputError, match="where its voxels lie"):
        read_volume(tmp_path / "x.mgz")


@pytest.mark.parametrize("suffix", [".tif", ".png", ".vtk", ".gipl"])
def test_formats_without_a_place_in_the_patient_are_refused(tmp_path, volume, suffix):
    image = SimpleITK.Cast(image_of(volume), SimpleITK.sitkUInt8)
    place = tmp_path / f"x{suffix}"
    SimpleITK.WriteImage(image[:, :, 0] if suffix == ".png" else image, str(place))
    with pytest.raises(InputError, match="not a NIfTI, NRRD, MetaImage"):
        read_volume(place)


def test_nothing_is_printed_about_a_damaged_file(tmp_path, volume, capfd):
    """ITK, MetaIO and nrrdio print what they think to the process's standard error."""
    for suffix in (".nii", ".nrrd", ".mha"):
        whole, cut = tmp_path / f"x{suffix}", tmp_path / f"cut{suffix}"
        SimpleITK.WriteImage(image_of(volume), str(whole), False)
        cut.write_bytes(whole.read_bytes()[:-9])
        with pytest.raises(InputError):
            read_volume(cut)
    assert capfd.readouterr() == ("", "")


def test_an_over_long_name_is_refused_with_a_sentence(tmp_path, volume):
    with pytest.raises(InputError, match="too long"):
        read_volume(tmp_path / ("x" * 300 + ".nrrd"))
    with pytest.raises(InputError, match="too long"):
        write_volume(volume, tmp_path / ("x" * 300 + ".nrrd"))


@pytest.mark.parametrize("suffix", [".NRRD", ".NII.GZ", ".Nii", ".MHA", ".MGZ"])
def test_upper_case_endings_are_written(tmp_path, volume, suffix):
    write_volume(volume, tmp_path / f"x{suffix}")
    assert [path.name for path in tmp_path.iterdir()] == [f"x{suffix}"]
    assert np.array_equal(read_volume(tmp_path / f"x{suffix}").voxels, volume.voxels)


def sheared(volume):
    matrix = volume.direction_matrix.copy()
    matrix[:, 1] = matrix[:, 1] * np.cos(0.08) + matrix[:, 0] * np.sin(0.08)
    directions = tuple(matrix.ravel().tolist())
    return Volume(volume.voxels, volume.spacing, volume.origin, directions)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_sheared_grid_is_not_written_to_a_format_that_would_straighten_it(
    tmp_path, volume, suffix
):
    with pytest.raises(InputError, match="not at right angles"):
        write_volume(sheared(volume), tmp_path / f"x{suffix}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".mgz"])
def test_a_sheared_grid_is_kept_by_the_other_formats(tmp_path, volume, suffix):
    write_volume(sheared(volume), tmp_path / f"x{suffix}")
    again = read_volume(tmp_path / f"x{suffix}")
    assert np.allclose(again.affine_lps, sheared(volume).affine_lps, atol=1e-5)


def test_voxels_that_a_format_cannot_hold_are_refused(tmp_path, volume):
    unsigned = Volume(volume.voxels.astype(np.uint16), volume.spacing, volume.origin)
    with pytest.raises(InputError, match="uint16"):
        write_volume(unsigned, tmp_path / "x.mgz")
    assert list(tmp_path.iterdir()) == []
