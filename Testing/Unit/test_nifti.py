"""NIfTI files: the named one, whole, in its place. nibabel writes them, a formula checks them."""

from __future__ import annotations

import gzip
import shutil

import nibabel
import numpy as np
import pytest

from MedFusionLib.errors import InputError
from MedFusionLib.volumes.files import read_volume

SHAPE = (7, 5, 4)
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def oblique(spacing=(1.5, 2.0, 3.0), angle=0.3):
    """RAS affine of a grid turned about two axes."""
    cos, sin = np.cos(angle), np.sin(angle)
    about_z = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x * spacing
    affine[:3, 3] = (-12.5, 33.25, 7.0)
    return affine


def value(points):
    """A value for each point (RAS, mm) that tells it from its mirror images."""
    return 1000 + 3 * points[..., 0] + 5 * points[..., 1] - 7 * points[..., 2]


def points(affine, shape=SHAPE):
    indices = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return indices @ affine[:3, :3].T + affine[:3, 3]


def nifti(affine=None, kind=nibabel.Nifti1Image, voxel_type=np.float32, sform=1, qform=1):
    affine = oblique() if affine is None else affine
    image = kind(value(points(affine)).astype(voxel_type), affine, dtype=voxel_type)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, sform)
    if qform is not None:
        image.set_qform(affine, qform)
    return image


def worst(volume):
    """How far a voxel is from the formula's value at the place where the volume puts it."""
    shape = volume.grid_shape[::-1]
    expected = value(points(LPS_TO_RAS @ volume.affine_lps, shape))
    return np.abs(volume.voxels.transpose(2, 1, 0) - expected).max()


def test_a_file_is_read_itself_whatever_lies_beside_it(tmp_path):
    nibabel.save(nifti(), tmp_path / "x.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.ones(SHAPE, np.float32), np.eye(4)), tmp_path / "x.nii")
    nibabel.save(nibabel.Nifti1Pair(np.ones(SHAPE, np.float32), np.eye(4)), tmp_path / "x.img")
    assert worst(read_volume(tmp_path / "x.nii.gz")) < 1e-3
    assert (read_volume(tmp_path / "x.nii").voxels == 1).all()


@pytest.mark.parametrize("named", ["x.img", "x.hdr"])
def test_a_pair_is_read_from_either_name_whatever_packed_pair_lies_beside_it(tmp_path, named):
    nibabel.save(nifti(kind=nibabel.Nifti1Pair), tmp_path / "x.img")
    other = nibabel.Nifti1Pair(np.ones(SHAPE, np.float32), np.eye(4))
    nibabel.save(other, tmp_path / "x.img.gz")
    assert worst(read_volume(tmp_path / named)) < 1e-3
    assert (read_volume(tmp_path / f"{named}.gz").voxels == 1).all()


def test_half_a_pair_is_refused(tmp_path):
    nibabel.save(nifti(kind=nibabel.Nifti1Pair), tmp_path / "x.img")
    (tmp_path / "x.hdr").unlink()
    with pytest.raises(InputError, match=r"half of a pair.*x\.hdr"):
        read_volume(tmp_path / "x.img")


@pytest.mark.parametrize("suffix", [".NII", ".NII.GZ", ".Nii.gz"])
def test_upper_case_endings_are_known(tmp_path, suffix):
    written = tmp_path / f"x{suffix.lower()}"
    nibabel.save(nifti(), written)
    shutil.move(written, tmp_path / f"y{suffix}")
    assert worst(read_volume(tmp_path / f"y{suffix}")) < 1e-3


def test_an_upper_case_pair_is_known(tmp_path):
    nibabel.save(nifti(kind=nibabel.Nifti1Pair), tmp_path / "x.img")
    for ending in ("img", "hdr"):
        shutil.move(tmp_path / f"x.{ending}", tmp_path / f"Y.{ending.upper()}")
    assert worst(read_volume(tmp_path / "Y.IMG")) < 1e-3
    assert worst(read_volume(tmp_path / "Y.HDR")) < 1e-3


@pytest.mark.parametrize("kind", [nibabel.Nifti2Image, nibabel.Nifti2Pair])
def test_nifti_2_is_read(tmp_path, kind):
    name = "x.img" if kind is nibabel.Nifti2Pair else "x.nii.gz"
    nibabel.save(nifti(kind=kind), tmp_path / name)
    assert worst(read_volume(tmp_path / name)) < 1e-3


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_the_other_byte_order_is_read(tmp_path, kind):
    image = nifti(kind=kind, voxel_type=np.int16)
    swapped = kind(image.get_fdata(), None, image.header.as_byteswapped(">"))
    nibabel.save(swapped, tmp_path / "x.nii")
    assert worst(read_volume(tmp_path / "x.nii")) <= 1


def test_scaled_values_are_the_ones_meant(tmp_path):
    image = nifti(voxel_type=np.float32)
    image.header.set_data_dtype(np.uint8)
    nibabel.save(image, tmp_path / "x.nii")  # nibabel chooses slope and intercept
    volume = read_volume(tmp_path / "x.nii")
    assert volume.voxels.dtype == np.float32
    assert worst(volume) <= np.ptp(image.get_fdata()) / 255


def test_lengths_in_metres_and_micrometres_are_brought_to_millimetres(tmp_path):
    for unit, millimetres in (("meter", 1000.0), ("micron", 0.001)):
        affine = oblique()
        image = nifti(affine)
        stored = affine.copy()
        stored[:3] /= millimetres
        image.set_sform(stored, 1)
        image.set_qform(stored, 1)
        image.header.set_xyzt_units(unit)
        nibabel.save(image, tmp_path / "x.nii")
        volume = read_volume(tmp_path / "x.nii")
        assert worst(volume) < 0.01
        assert "units" in volume.metadata["warnings"]


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_part_of_the_voxels_inside_an_intact_gzip_is_refused(tmp_path, share):
    nibabel.save(nifti(), tmp_path / "whole.nii")
    content = (tmp_path / "whole.nii").read_bytes()
    with gzip.open(tmp_path / "x.nii.gz", "wb") as file:
        file.write(content[: int(len(content) * share)])
    with pytest.raises(InputError, match="truncated"):
        read_volume(tmp_path / "x.nii.gz")


def test_a_short_img_is_refused_with_its_name(tmp_path):
    nibabel.save(nifti(kind=nibabel.Nifti1Pair), tmp_path / "x.img")
    content = (tmp_path / "x.img").read_bytes()
    (tmp_path / "x.img").write_bytes(content[:-4])
    with pytest.raises(InputError, match=r"x\.img' is truncated"):
        read_volume(tmp_path / "x.hdr")


def test_more_voxels_than_the_header_tells_of_are_refused(tmp_path):
    nibabel.save(nifti(), tmp_path / "x.nii")
    content = bytearray((tmp_path / "x.nii").read_bytes())
    content[42:44] = (6).to_bytes(2, "little")  # dim[1], which was 7
    (tmp_path / "x.nii").write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        read_volume(tmp_path / "x.nii")


def mirrored(affine):
    return np.diag([-1.0, 1.0, 1.0, 1.0]) @ affine


def test_two_positions_far_apart_are_refused_and_either_can_be_chosen(tmp_path):
    image = nifti()
    image.set_sform(mirrored(oblique()), 2)
    nibabel.save(image, tmp_path / "x.nii.gz")
    with pytest.raises(InputError, match=r"sform \(aligned space\).*qform \(scanner space\).*mm"):
        read_volume(tmp_path / "x.nii.gz")
    by_qform = read_volume(tmp_path / "x.nii.gz", geometry="qform")
    assert worst(by_qform) < 0.01
    by_sform = read_volume(tmp_path / "x.nii.gz", geometry="sform")
    assert np.allclose(by_sform.affine_lps, LPS_TO_RAS @ mirrored(oblique()), atol=1e-5)
    with pytest.raises(InputError, match="Choose one of: sform, qform"):
        read_volume(tmp_path / "x.nii.gz", geometry="best")


def test_two_positions_a_quarter_voxel_apart_give_the_sform_and_a_warning(tmp_path):
    image = nifti()
    near = oblique()
    near[0, 3] += 0.25 * 1.5
    image.set_qform(near, 1)
    nibabel.save(image, tmp_path / "x.nii")
    volume = read_volume(tmp_path / "x.nii")
    assert worst(volume) < 1e-3
    assert "sform was taken" in volume.metadata["warnings"]


def test_rounding_between_the_positions_is_no_disagreement(tmp_path):
    half_turn = np.diag([-1.0, -1.0, 1.0, 1.0]) @ oblique(angle=1e-5)
    nibabel.save(nifti(half_turn), tmp_path / "x.nii")
    volume = read_volume(tmp_path / "x.nii")
    assert worst(volume) < 1e-3 and "warnings" not in volume.metadata


@pytest.mark.parametrize(("sform", "qform"), [(0, 1), (1, 0)])
def test_the_only_declared_position_is_taken(tmp_path, sform, qform):
    image = nifti(sform=sform, qform=qform)
    (image.set_sform if sform == 0 else image.set_qform)(mirrored(oblique()), 0)
    nibabel.save(image, tmp_path / "x.nii")
    assert worst(read_volume(tmp_path / "x.nii")) < 0.01


def test_no_declared_position_is_refused_until_one_is_named(tmp_path):
    nibabel.save(nifti(sform=0, qform=0), tmp_path / "x.nii")
    with pytest.raises(InputError, match=r"both 0.*--geometry sform or qform"):
        read_volume(tmp_path / "x.nii")
    assert worst(read_volume(tmp_path / "x.nii", geometry="sform")) < 1e-3
    assert worst(read_volume(tmp_path / "x.nii", geometry="qform")) < 0.01


def test_a_sheared_sform_is_refused_for_what_it_is(tmp_path):
    image = nifti()
    sheared = oblique()
    sheared[:3, 1] += 0.1 * sheared[:3, 0]
    image.set_sform(sheared, 2)
    image.set_qform(oblique(), 0)
    nibabel.save(image, tmp_path / "x.nii")
    with pytest.raises(InputError, match=r"sheared.*4\.3°"):
        read_volume(tmp_path / "x.nii")


@pytest.mark.parametrize("broken", [np.nan, np.inf, 0.0])
def test_a_position_that_is_none_is_refused(tmp_path, broken):
    image = nifti(qform=0)
    nowhere = oblique()
    nowhere[:3, 0] = broken
    image.header["srow_x"], image.header["srow_y"], image.header["srow_z"] = nowhere[:3]
    nibabel.save(image, tmp_path / "x.nii")
    (tmp_path / "x.nii").write_bytes(patched(tmp_path / "x.nii", 280, nowhere[:3]))
    with pytest.raises(InputError, match="no place in space"):
        read_volume(tmp_path / "x.nii")


def patched(path, start, numbers):
    content = bytearray(path.read_bytes())
    stored = np.asarray(numbers, "<f4").tobytes()
    content[start : start + len(stored)] = stored
    return bytes(content)


def test_a_quaternion_longer_than_one_is_refused(tmp_path):
    nibabel.save(nifti(sform=0), tmp_path / "x.nii")
    (tmp_path / "x.nii").write_bytes(patched(tmp_path / "x.nii", 256, [0.9, 0.9, 0.9]))
    with pytest.raises(InputError, match=r"qform.*no place in space"):
        read_volume(tmp_path / "x.nii")


def test_an_analyze_file_is_refused_as_it_does_not_tell_left_from_right(tmp_path):
    image = nibabel.AnalyzeImage(np.ones(SHAPE, np.float32), np.eye(4))
    nibabel.save(image, tmp_path / "x.img")
    with pytest.raises(InputError, match=r"Analyze 7\.5.*left"):
        read_volume(tmp_path / "x.img")


@pytest.mark.parametrize("channels", [3, 4])
def test_colour_is_read_from_triples_and_from_a_fifth_dimension(tmp_path, channels):
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (*SHAPE, channels), dtype=np.uint8)
    kind = np.dtype([(name, "u1") for name in "RGBA"[:channels]])
    triples = np.ascontiguousarray(colours).view(kind).reshape(SHAPE)
    nibabel.save(nibabel.Nifti1Image(triples, np.eye(4)), tmp_path / "triples.nii")
    fifth = nibabel.Nifti1Image(colours[:, :, :, np.newaxis], np.eye(4))
    nibabel.save(fifth, tmp_path / "fifth.nii")
    for name in ("triples.nii", "fifth.nii"):
        volume = read_volume(tmp_path / name)
        assert np.array_equal(volume.voxels.transpose(2, 1, 0, 3), colours[..., :3])
