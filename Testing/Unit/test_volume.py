"""Volumes and their files."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK

from MedFusionLib.errors import InputError
from MedFusionLib.volumes.files import read_volume, write_volume
from MedFusionLib.volumes.modality import guess_modality
from MedFusionLib.volumes.volume import Volume, same_grid, to_image


def oblique_volume(dtype: type = np.int16) -> Volume:
    rotation = SimpleITK.Euler3DTransform((0, 0, 0), 0.2, -0.1, 0.4).GetMatrix()
    voxels = np.arange(4 * 5 * 6).reshape(4, 5, 6).astype(dtype)
    return Volume(voxels, (0.9, 1.1, 2.5), (-12.5, 33.25, 7.0), rotation, "MR")


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".nii", ".mha", ".mgz"])
def test_a_file_gives_back_the_voxels_and_the_place_that_were_written(tmp_path, suffix):
    volume = oblique_volume()
    write_volume(volume, tmp_path / f"volume{suffix}")
    again = read_volume(tmp_path / f"volume{suffix}")
    assert np.array_equal(again.voxels, volume.voxels)
    # NIfTI and MGZ keep their geometry in float32.
    assert np.allclose(again.affine_lps, volume.affine_lps, atol=1e-5)
    assert same_grid(again, volume)


def test_the_affine_maps_indices_to_where_simpleitk_puts_them():
    volume = oblique_volume()
    expected = to_image(volume).TransformContinuousIndexToPhysicalPoint((1.5, 2.0, 3.25))
    assert np.allclose((volume.affine_lps @ [1.5, 2.0, 3.25, 1])[:3], expected)


def test_a_shift_of_a_hundredth_of_a_voxel_is_another_grid():
    volume = oblique_volume()
    x, y, z = volume.origin
    moved = Volume(volume.voxels, volume.spacing, (x + 0.009, y, z), volume.directions)
    assert not same_grid(volume, moved)


def test_a_colour_volume_keeps_its_three_channels(tmp_path):
    voxels = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)
    write_volume(Volume(voxels, (1, 1, 1), (0, 0, 0)), tmp_path / "colour.nrrd")
    assert np.array_equal(read_volume(tmp_path / "colour.nrrd").voxels, voxels)


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".nii", ".mha", ".mgz"])
@pytest.mark.parametrize("share", [0.5, 0.98])
def test_a_truncated_file_is_refused_with_a_sentence(tmp_path, suffix, share):
    rng = np.random.default_rng(0)
    voxels = rng.integers(0, 1000, (30, 30, 30), dtype=np.int16)
    whole = tmp_path / f"whole{suffix}"
    write_volume(Volume(voxels, (1, 1, 1), (0, 0, 0)), whole)
    content = whole.read_bytes()
    (tmp_path / f"half{suffix}").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match=r"truncated|cannot be read"):
        read_volume(tmp_path / f"half{suffix}")


def test_a_file_of_noise_is_refused_with_a_sentence(tmp_path):
    (tmp_path / "noise.nrrd").write_bytes(b"not a volume")
    with pytest.raises(InputError, match="cannot be read"):
        read_volume(tmp_path / "noise.nrrd")


@pytest.mark.parametrize(
    ("size", "words"), [((4, 5, 6, 2), "time points"), ((4, 5, 1), "single slice")]
)
def test_what_is_no_volume_is_refused(tmp_path, size, words):
    SimpleITK.WriteImage(SimpleITK.Image(size, SimpleITK.sitkInt16), str(tmp_path / "x.nii"))
    with pytest.raises(InputError, match=words):
        read_volume(tmp_path / "x.nii")


def test_complex_numbers_are_refused(tmp_path):
    image = SimpleITK.Image((4, 5, 6), SimpleITK.sitkComplexFloat32)
    SimpleITK.WriteImage(image, str(tmp_path / "x.nii"))
    with pytest.raises(InputError, match="complex"):
        read_volume(tmp_path / "x.nii")


def test_a_nifti_label_map_is_refused(tmp_path):
    write_volume(oblique_volume(), tmp_path / "labels.nii")
    content = bytearray((tmp_path / "labels.nii").read_bytes())
    content[68:70] = (1002).to_bytes(2, "little")  # intent_code of the NIfTI-1 header: a label
    (tmp_path / "labels.nii").write_bytes(content)
    with pytest.raises(InputError, match="label map"):
        read_volume(tmp_path / "labels.nii")


def test_an_unknown_ending_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match=r"\.nrrd"):
        write_volume(oblique_volume(), tmp_path / "fused.jpg")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        write_volume(oblique_volume(), tmp_path / "nowhere" / "fused.nrrd")


def test_an_existing_file_survives_a_write_that_fails(tmp_path):
    place = tmp_path / "fused.nii"
    place.write_bytes(b"precious")
    broken = Volume(np.zeros((2, 2, 2), dtype=bool), (1, 1, 1), (0, 0, 0))
    with pytest.raises(InputError, match="could not be written"):
        write_volume(broken, place)
    assert place.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [place]


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        ("case28_MR-T2.nii.gz", "MR"),
        ("case28_CT.nii.gz", "CT"),
        ("a_FDG_b.nrrd", "PET"),
        ("spect-ct.nrrd", "SPECT"),
        ("octet.nrrd", "unknown"),
    ],
)
def test_a_guess_goes_by_whole_words_of_the_name(name, modality):
    assert guess_modality(np.zeros((2, 2, 2)), name)[0] == modality


def test_hounsfield_values_give_a_ct_away():
    assert guess_modality(np.full((2, 2, 2), -1000), "head.nrrd")[0] == "CT"


def test_a_guess_is_marked_as_one_and_a_given_modality_is_not(tmp_path):
    write_volume(oblique_volume(), tmp_path / "my_pet.nrrd")
    assert read_volume(tmp_path / "my_pet.nrrd").metadata["modality_source"] == "guess"
    given = read_volume(tmp_path / "my_pet.nrrd", "mr")
    assert (given.modality, given.metadata["modality_source"]) == ("MR", "given")
