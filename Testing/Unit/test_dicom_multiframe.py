"""Multi-frame DICOM: every voxel is the formula's value at the place the volume says it has."""

from __future__ import annotations

import numpy as np
import pytest
from dicom_phantom import (
    Grid,
    frame_groups,
    frames,
    head,
    set_pixels,
    truth,
    turned,
    worst,
    write_dose,
    write_enhanced,
    write_nuclear,
)
from pydicom.dataset import Dataset

from MedFusionLib.errors import InputError
from MedFusionLib.volumes.files import read_volume

EVEN_THEN_ODD = [*range(0, 9, 2), *range(1, 9, 2)]
OBLIQUE = Grid(directions=turned())


@pytest.mark.parametrize("grid", [Grid(), OBLIQUE], ids=["straight", "oblique"])
@pytest.mark.parametrize("order", [range(9), range(8, -1, -1), EVEN_THEN_ODD])
def test_an_enhanced_mr_is_read_in_any_order_of_its_frames(tmp_path, grid, order):
    volume = read_volume(write_enhanced(tmp_path / "mr.dcm", grid, order))
    assert volume.grid_shape == grid.shape
    assert volume.spacing == pytest.approx(grid.spacing, abs=1e-5)
    assert worst(volume) < 0.51
    assert (volume.modality, volume.metadata["modality_source"]) == ("MR", "dicom")


@pytest.mark.parametrize("writer", [write_enhanced, write_nuclear, write_dose])
def test_a_folder_with_a_multi_frame_file_gives_the_files_volume(tmp_path, writer):
    path = writer(tmp_path / "one.dcm")
    of_file, of_folder = read_volume(path), read_volume(tmp_path)
    assert of_file.voxels.shape == (9, 12, 10)
    np.testing.assert_array_equal(of_file.voxels, of_folder.voxels)
    np.testing.assert_array_equal(of_file.affine_lps, of_folder.affine_lps)


def test_highdicom_sees_the_same_voxels_at_the_same_places(tmp_path):
    highdicom = pytest.importorskip("highdicom", reason="needs highdicom")

    path = write_enhanced(tmp_path / "mr.dcm", OBLIQUE, EVEN_THEN_ODD, _with_what_highdicom_needs)
    volume, seen = read_volume(path), highdicom.imread(path).get_volume()
    for index in ((0, 0, 0), (8, 11, 9), (3, 7, 2)):
        place = volume.affine_lps @ [*index[::-1], 1]
        other = np.rint(np.linalg.solve(seen.affine, place)).astype(int)
        assert seen.affine @ other == pytest.approx(place, abs=1e-3)
        assert seen.array[tuple(other[:3])] == volume.voxels[index]


def _with_what_highdicom_needs(image):
    dimensions = Dataset(), Dataset()
    for item, pointer in zip(dimensions, (0x00209056, 0x00209057), strict=True):
        item.DimensionIndexPointer, item.FunctionalGroupPointer = pointer, 0x00209111
        item.DimensionOrganizationUID = "1.2.3.77"
    image.DimensionIndexSequence = list(dimensions)
    organization = Dataset()
    organization.DimensionOrganizationUID = "1.2.3.77"
    image.DimensionOrganizationSequence = [organization]
    image.ContentDate, image.ContentTime = "20200101", "100000"
    image.AccessionNumber = image.PatientBirthDate = image.PatientSex = image.StudyID = ""
    image.ReferringPhysicianName, image.SeriesNumber, image.Manufacturer = "", 1, ""
    image.VolumetricProperties = "VOLUME"
    for groups in image.PerFrameFunctionalGroupsSequence:
        content = groups.FrameContentSequence[0]
        content.DimensionIndexValues = [1, content.InStackPositionNumber]


def test_each_frame_of_an_enhanced_file_has_its_own_scale(tmp_path):
    def rescaled(image):
        stored = frames(Grid(), range(9)).astype(float)
        for index, groups in enumerate(image.PerFrameFunctionalGroupsSequence):
            scale = groups.PixelValueTransformationSequence[0]
            scale.RescaleSlope, scale.RescaleIntercept = str(0.25 * (index + 1)), "-10"
            stored[index] = (stored[index] + 10) / (0.25 * (index + 1))
        set_pixels(image, np.rint(stored).astype("u2"))

    assert worst(read_volume(write_enhanced(tmp_path / "mr.dcm", edit=rescaled))) < 2.25 / 2 + 0.5


def _two_echoes(image):
    first = frames(Grid(), range(9))
    image.NumberOfFrames = 18
    groups = [frame_groups(Grid(), index) for index in (*range(9), *range(9))]
    for number, item in enumerate(groups):
        echo = Dataset()
        echo.EffectiveEchoTime = 4.6 if number < 9 else 9.2
        item.MREchoSequence = [echo]
    image.PerFrameFunctionalGroupsSequence = groups
    set_pixels(image, np.concatenate([first, first // 2]))


def test_two_echoes_in_one_file_are_listed_and_one_can_be_picked_by_name(tmp_path):
    path = write_enhanced(tmp_path / "mr.dcm", edit=_two_echoes)
    with pytest.raises(InputError, match=r"1\.2\.3\.1:EchoTime=4\.6 \(9 slices\).*EchoTime=9\.2"):
        read_volume(path)
    assert worst(read_volume(path, series="1.2.3.1:EchoTime=4.6")) < 0.51
    second = read_volume(path, series="EchoTime=9.2")
    assert np.abs(second.voxels - truth(second) / 2).max() < 1.01
    with pytest.raises(InputError, match="No such stack"):
        read_volume(path, series="EchoTime=7")
    with pytest.raises(InputError, match="does not belong to the series"):
        read_volume(path, series="1.2.3.55")


def test_time_points_that_only_a_dimension_tells_apart_are_refused(tmp_path):
    def dynamic(image):
        _two_echoes(image)
        pointers = (0x00209128, 0x00209057)  # temporal position, place in the stack
        image.DimensionIndexSequence = []
        for pointer in pointers:
            item = Dataset()
            item.DimensionIndexPointer = pointer
            image.DimensionIndexSequence.append(item)
        for number, groups in enumerate(image.PerFrameFunctionalGroupsSequence):
            del groups.MREchoSequence
            groups.FrameContentSequence[0].DimensionIndexValues = [1 + number // 9, 1 + number % 9]

    path = write_enhanced(tmp_path / "mr.dcm", edit=dynamic)
    with pytest.raises(InputError, match=r"DimensionIndex=1 .*DimensionIndex=2 "):
        read_volume(path)
    assert worst(read_volume(path, series="DimensionIndex=1")) < 0.51


def test_an_enhanced_file_that_lacks_a_frames_place_or_spacing_is_refused(tmp_path):
    def without_place(image):
        del image.PerFrameFunctionalGroupsSequence[4].PlanePositionSequence

    def without_spacing(image):
        del image.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence

    def without_description(image):
        del image.PerFrameFunctionalGroupsSequence[-1]

    for edit, words in (
        (without_place, "where its slice lies"),
        (without_spacing, "how far its pixels lie apart"),
        (without_description, "9 frames and describes 8"),
    ):
        with pytest.raises(InputError, match=words):
            read_volume(write_enhanced(tmp_path / "mr.dcm", edit=edit))


@pytest.mark.parametrize("grid", [Grid(), OBLIQUE], ids=["straight", "oblique"])
def test_a_spect_has_its_place_from_its_detector(tmp_path, grid):
    volume = read_volume(write_nuclear(tmp_path / "nm.dcm", grid))
    assert volume.modality == "SPECT"
    assert volume.spacing == pytest.approx(grid.spacing, abs=1e-5)
    assert worst(volume) < 0.51


def test_a_negative_spacing_stacks_the_slices_against_their_normal(tmp_path):
    # Rows and columns of the same grid, run through from its last slice to its first.
    def downwards(image):
        image.SpacingBetweenSlices = -4.0
        image.SliceVector = list(range(1, 10))

    volume = read_volume(write_nuclear(tmp_path / "nm.dcm", order=range(8, -1, -1), edit=downwards))
    assert worst(volume) < 0.51


def test_the_slice_vector_gives_the_order_of_the_frames(tmp_path):
    assert worst(read_volume(write_nuclear(tmp_path / "nm.dcm", order=EVEN_THEN_ODD))) < 0.51


def test_without_a_spacing_the_thickness_counts_and_is_told(tmp_path):
    def without_spacing(image):
        del image.SpacingBetweenSlices

    volume = read_volume(write_nuclear(tmp_path / "nm.dcm", edit=without_spacing))
    assert worst(volume) < 0.51
    assert "their thickness, 4 mm" in volume.metadata["warnings"]


def _without(image, *keywords):
    for keyword in keywords:
        delattr(image, keyword)


def _set(image, keyword, value):
    setattr(image, keyword, value)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (
            lambda image: _without(image, "SpacingBetweenSlices", "SliceThickness"),
            "slices lie apart",
        ),
        (lambda image: _without(image, "DetectorInformationSequence"), "where its slice lies"),
        (
            lambda image: _set(image, "ImageType", ["ORIGINAL", "PRIMARY", "TOMO", "EMISSION"]),
            "projections",
        ),
        (lambda image: _set(image, "SliceVector", [1, 2, 3]), "numbers 3 of 9"),
        (lambda image: _set(image, "PixelSpacing", [0, 0]), "pixels lie apart"),
        (lambda image: _set(image, "FrameIncrementPointer", 0x00181063), "film"),
    ],
)
def test_a_nuclear_file_that_is_no_stack_of_slices_is_refused(tmp_path, edit, words):
    path = write_nuclear(tmp_path / "nm.dcm", edit=edit)
    with pytest.raises(InputError, match=words):
        read_volume(path)


def test_two_energy_windows_of_a_spect_are_two_stacks(tmp_path):
    def windows(image):
        first = frames(Grid(), range(9))
        image.NumberOfFrames = 18
        set_pixels(image, np.concatenate([first, first // 3]))
        image.SliceVector = [*range(1, 10), *range(1, 10)]
        image.EnergyWindowVector = [1] * 9 + [2] * 9

    path = write_nuclear(tmp_path / "nm.dcm", edit=windows)
    with pytest.raises(InputError, match=r"EnergyWindowVector=1 .*EnergyWindowVector=2 "):
        read_volume(path)
    assert worst(read_volume(path, series="EnergyWindowVector=1")) < 0.51


def test_a_dose_comes_in_gray_at_the_places_of_its_planes(tmp_path):
    volume = read_volume(write_dose(tmp_path / "dose.dcm"))
    assert volume.voxels.dtype == np.float32
    assert volume.spacing == (3.0, 3.5, 4.0)
    assert worst(volume, lambda points: head(points) / 100) < 0.00065
    assert volume.modality == "unknown"


def test_a_dose_whose_offsets_are_places_in_the_patient_lies_where_they_say(tmp_path):
    places = [Grid().position(index)[2] for index in range(9)]
    volume = read_volume(write_dose(tmp_path / "dose.dcm", offsets=places))
    assert worst(volume, lambda points: head(points) / 100) < 0.00065


@pytest.mark.parametrize("keyword", ["GridFrameOffsetVector", "DoseGridScaling"])
def test_a_dose_without_scaling_or_offsets_is_refused(tmp_path, keyword):
    path = write_dose(tmp_path / "dose.dcm", edit=lambda image: delattr(image, keyword))
    with pytest.raises(InputError, match=r"dose lie|scale of its values"):
        read_volume(path)
