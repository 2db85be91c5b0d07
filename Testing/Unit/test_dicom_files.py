"""What lies in a DICOM folder, and what each file must say, down to the voxel."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from dicom_phantom import (
    Grid,
    blank,
    head,
    orientation,
    set_pixels,
    turned,
    worst,
    write,
    write_series,
)

from MedFusionLib.errors import InputError
from MedFusionLib.volumes.files import read_volume


@pytest.mark.parametrize("grid", [Grid(), Grid(directions=turned())], ids=["straight", "oblique"])
def test_every_voxel_of_a_series_is_the_formulas_value_at_its_place(tmp_path, grid):
    volume = read_volume(write_series(tmp_path, grid, intercept=-1024))
    assert volume.grid_shape == grid.shape
    assert worst(volume) < 0.51
    assert (volume.modality, volume.voxels.dtype) == ("CT", np.int32)


def test_the_order_of_the_files_does_not_matter(tmp_path):
    positions = [Grid().position(index) for index in (5, 0, 8, 3, 1, 7, 2, 6, 4)]
    assert worst(read_volume(write_series(tmp_path, positions=positions))) < 0.51


def test_the_values_type_is_not_taken_from_the_first_slice(tmp_path):
    folder = write_series(
        tmp_path,
        modality="PT",
        slope=lambda index: 1 if index == 0 else 5.123,
        dtype="u2",
        formula=lambda points: 100 * head(points),
    )
    volume = read_volume(folder)
    assert volume.voxels.dtype == np.float32
    # Half a step of the scale, and what single precision leaves of 150,000.
    assert worst(volume, lambda points: 100 * head(points)) < 5.123 / 2 + 0.05


def test_slices_may_differ_in_sign_and_width_of_their_stored_values(tmp_path):
    def other_type(image, index):
        if index % 2:
            stored = np.frombuffer(image.PixelData, "<i2").reshape(12, 10)
            set_pixels(image, stored.astype("u2"))
            image.BitsStored, image.HighBit = 12, 11

    volume = read_volume(write_series(tmp_path, edit=other_type))
    assert worst(volume) < 0.51


def test_a_broken_link_is_left_out_and_told(tmp_path):
    folder = write_series(tmp_path)
    (folder / "IM0020x.dcm").symlink_to("/nowhere/IM0020.dcm")
    volume = read_volume(folder)
    assert volume.grid_shape == (9, 12, 10)
    assert worst(volume) < 0.51
    assert "cannot be opened: IM0020x.dcm" in volume.metadata["warnings"]


@pytest.mark.parametrize("gone", [4, 0], ids=["in the middle", "at the begin"])
def test_a_slice_behind_a_broken_link_is_missed(tmp_path, gone):
    folder = write_series(tmp_path)
    (folder / f"IM{gone:04d}.dcm").unlink()
    (folder / f"IM{gone:04d}.dcm").symlink_to("/nowhere/slice.dcm")
    with pytest.raises(InputError, match=rf"[Mm]issing.*IM{gone:04d}\.dcm"):
        read_volume(folder)


def test_a_file_that_may_not_be_opened_is_told(tmp_path):
    folder = write_series(tmp_path)
    closed = folder / "closed.dcm"
    closed.write_bytes(b"")
    closed.chmod(0)
    if os.access(closed, os.R_OK):
        pytest.skip("this user may open every file")
    assert "cannot be opened: closed.dcm" in read_volume(folder).metadata["warnings"]


def test_files_that_are_no_dicom_are_left_out_and_told(tmp_path):
    folder = write_series(tmp_path)
    (folder / "notes.txt").write_text("read me")
    (folder / "empty").write_bytes(b"")
    (folder / ".DS_Store").write_bytes(b"Bud1")
    (folder / "more").mkdir()
    volume = read_volume(folder)
    assert worst(volume) < 0.51
    assert volume.metadata["warnings"].endswith("no DICOM files: empty, notes.txt.")


def test_a_dicom_file_whose_header_is_cut_off_is_refused(tmp_path):
    folder = write_series(tmp_path)
    whole = (folder / "IM0004.dcm").read_bytes()
    (folder / "IM0004.dcm").write_bytes(whole[:200])
    with pytest.raises(InputError, match=r"IM0004\.dcm.*damaged or cut off"):
        read_volume(folder)


def test_a_dicom_file_whose_pixels_are_cut_off_is_refused(tmp_path):
    folder = write_series(tmp_path)
    whole = (folder / "IM0004.dcm").read_bytes()
    (folder / "IM0004.dcm").write_bytes(whole[:-50])
    with pytest.raises(InputError, match=r"IM0004\.dcm.*truncated or damaged"):
        read_volume(folder)


def test_a_file_copied_twice_counts_once_and_an_impostor_is_refused(tmp_path):
    folder = write_series(tmp_path)
    shutil.copy(folder / "IM0003.dcm", folder / "copy.dcm")
    assert worst(read_volume(folder)) < 0.51
    (folder / "copy.dcm").write_bytes((folder / "copy.dcm").read_bytes()[:-2] + b"zz")
    with pytest.raises(InputError, match="the same image and differ"):
        read_volume(folder)


def test_documents_beside_the_images_make_no_series(tmp_path):
    folder = write_series(tmp_path)
    document = blank("SR", "1.2.840.10008.5.1.4.1.1.88.11")
    document.SeriesInstanceUID = "1.2.3.99"
    write(document, folder / "report.dcm")
    assert worst(read_volume(folder)) < 0.51
    with pytest.raises(InputError, match="without an image"):
        read_volume(folder / "report.dcm")


def test_old_files_without_a_preamble_are_read(tmp_path):
    folder = write_series(tmp_path)
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[132:])
    assert worst(read_volume(folder)) < 0.51


def _set(**values):
    def edit(image, index):
        for keyword, value in values.items():
            if value is None:
                delattr(image, keyword)
            else:
                setattr(image, keyword, value)

    return edit


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (_set(PixelSpacing=None), "pixels lie apart"),
        (_set(PixelSpacing=""), "pixels lie apart"),
        (_set(PixelSpacing=[0, 0]), "pixels lie apart"),
        (_set(PixelSpacing=[3.5, -3]), "pixels lie apart"),
        (_set(PixelSpacing="3.5"), "pixels lie apart"),
        (_set(PixelSpacing=None, ImagerPixelSpacing=[3.5, 3]), "at the detector"),
        (_set(ImagePositionPatient=None), "where its slice lies"),
        (_set(ImageOrientationPatient=""), "where its slice lies"),
        (_set(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), "right angles"),
        (_set(ImageOrientationPatient=[2, 0, 0, 0, 1, 0]), "right angles"),
        (_set(RescaleSlope="0"), "no usable scale"),
        (_set(ModalityLUTSequence=[]), "modality LUT"),
        (_set(HighBit=None), "how its pixels are stored"),
        (_set(BitsStored=20), "how its pixels are stored"),
        (_set(PhotometricInterpretation=None), "grey or colour"),
        (_set(Rows=11), r"more pixels|several stacks"),
    ],
)
@pytest.mark.parametrize("which", ["all", "last"])
def test_a_header_that_leaves_place_or_values_open_is_refused(tmp_path, edit, words, which):
    def change(image, index):
        if which == "all" or index == 8:
            edit(image, index)

    with pytest.raises(InputError, match=words):
        read_volume(write_series(tmp_path, edit=change))


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (_set(RescaleSlope=None, RescaleIntercept=None), "and some do not"),
        (_set(RescaleType="US"), "kinds of values: none, US"),
        (_set(PatientID="2"), "different patients"),
        (_set(FrameOfReferenceUID="1.2.3.5"), "frames of reference"),
        (_set(Modality="MR"), "modalities: CT, MR"),
    ],
)
def test_slices_that_mean_different_things_make_no_volume(tmp_path, edit, words):
    folder = write_series(tmp_path, edit=lambda i, k: edit(i, k) if k == 4 else None)
    with pytest.raises(InputError, match=words):
        read_volume(folder)


def test_directions_with_rounding_errors_are_put_right(tmp_path):
    grid = Grid(directions=turned())
    rounded = [round(number, 3) for number in orientation(grid)]
    volume = read_volume(write_series(tmp_path, grid, edit=_set(ImageOrientationPatient=rounded)))
    np.testing.assert_allclose(
        volume.direction_matrix.T @ volume.direction_matrix, np.eye(3), atol=1e-9
    )
    assert worst(volume) < 2


def test_a_ct_without_a_scale_is_taken_as_hounsfield_units_and_told(tmp_path):
    volume = read_volume(
        write_series(tmp_path, edit=_set(RescaleSlope=None, RescaleIntercept=None))
    )
    assert worst(volume) < 0.51
    assert "Hounsfield" in volume.metadata["warnings"]


def test_a_pet_with_fewer_slices_than_it_says_is_told(tmp_path):
    volume = read_volume(write_series(tmp_path, modality="PT", edit=_set(NumberOfSlices=12)))
    assert "said to have 12 slices; 9 are here" in volume.metadata["warnings"]


def test_the_volume_carries_who_and_when(tmp_path):
    edit = _set(
        PatientName="Äda^Eve", PatientBirthDate="19700102", SpecificCharacterSet="ISO_IR 192"
    )
    kept = read_volume(write_series(tmp_path, edit=edit)).metadata
    assert kept["patient_name"] == "Äda^Eve"
    assert (kept["patient_id"], kept["patient_birth_date"]) == ("1", "19700102")
    assert kept["study_date"] == "20200101"


def test_a_single_slice_is_refused_from_a_file_and_from_a_folder(tmp_path):
    write_series(tmp_path, Grid(shape=(1, 12, 10)))
    for path in (tmp_path, tmp_path / "IM0000.dcm"):
        with pytest.raises(InputError, match="single slice"):
            read_volume(path)


def test_a_segmentation_is_refused_as_a_label_map(tmp_path):
    labels = _set(SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4", Modality="SEG")
    with pytest.raises(InputError, match="label map"):
        read_volume(write_series(tmp_path, edit=labels))


def test_the_pixels_are_never_held_twice(tmp_path):
    import tracemalloc

    grid = Grid(shape=(40, 128, 128), spacing=(0.3, 0.3, 1))
    folder = write_series(tmp_path, grid, dtype="i2")
    tracemalloc.start()
    volume = read_volume(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert worst(volume) < 0.51
    assert peak < 2 * volume.voxels.nbytes
