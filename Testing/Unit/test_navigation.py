"""DICOM for navigation systems, read back by pydicom, SimpleITK and highdicom alone."""

from __future__ import annotations

import io
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

pydicom = pytest.importorskip("pydicom", reason="needs pydicom")

from dicom_phantom import Grid, head, turned, write_enhanced, write_series  # noqa: E402

from MedFusionLib.errors import (  # noqa: E402
    GeometryError,
    IdentityError,
    InputError,
    MedFusionError,
    RegistrationError,
)
from MedFusionLib.fusion import fuse  # noqa: E402
from MedFusionLib.navigation import (  # noqa: E402
    BLENDING,
    REGISTRATION,
    export_for_navigation,
    palette_of,
    place_of,
)
from MedFusionLib.volumes.dicom_grid import right_handed, with_square_pixels  # noqa: E402
from MedFusionLib.volumes.dicom_registration import matrix_type  # noqa: E402
from MedFusionLib.volumes.files import read_volume  # noqa: E402
from MedFusionLib.volumes.srgb_profile import srgb_profile  # noqa: E402
from MedFusionLib.volumes.volume import Volume  # noqa: E402

OBLIQUE = Grid(directions=turned())
"""Its pixels are 3.0 mm wide and 3.5 mm high."""


def rigid() -> sitk.Euler3DTransform:
    """From the reference's space to the other's: a turn about no axis in particular."""
    transform = sitk.Euler3DTransform()
    transform.SetRotation(0.2, -0.1, 0.3)
    transform.SetTranslation((5.0, -4.0, 3.0))
    return transform


def displaced(transform: sitk.Transform):
    """The head's formula in the space to which a transform takes it."""
    back = transform.GetInverse()

    def formula(points: np.ndarray) -> np.ndarray:
        flat = points.reshape(-1, 3).tolist()
        here = np.array([back.TransformPoint(point) for point in flat])
        return head(here.reshape(points.shape))

    return formula


def series_of(number: int, frame: str, **tags):
    def edit(image, index):
        image.SeriesInstanceUID, image.StudyInstanceUID = f"1.2.3.{number}", f"1.2.4.{number}"
        image.FrameOfReferenceUID = frame
        image.StudyID, image.AccessionNumber, image.ReferringPhysicianName = "7", "A1", ""
        image.PatientBirthDate, image.PatientSex = "19700102", "F"
        for keyword, value in tags.items():
            setattr(image, keyword, value)

    return edit


def write_pair(folder: Path, modality="PT", transform=None, frame="1.2.9", **tags):
    """An MR, and another series of it in a frame of reference of its own, scaled slice by slice."""
    transform = rigid() if transform is None else transform
    write_series(folder / "mr", OBLIQUE, "MR", edit=series_of(1, "1.2.8", **tags))
    write_series(
        folder / "other",
        Grid((13, 16, 15), (2.5, 2.5, 3.0), shift=(5.0, -4.0, 3.0)),
        modality,
        displaced(transform),
        slope=lambda index: round(0.05 * (1 + index % 4), 6) if modality == "PT" else 1,
        edit=series_of(2, frame),
    )
    return read_volume(folder / "mr"), read_volume(folder / "other")


def exported(folder: Path, pair, transform=None, report=None, square_pixels=False, **changes):
    """What an export gives of a real fusion of a pair, with some of its values changed."""
    reference, other = pair
    result = fuse(reference, other, "average", rigid() if transform is None else transform)
    values = {
        "volume": result.volume,
        "reference_metadata": reference.metadata,
        "other_metadata": other.metadata,
        "other_place": place_of(other),
        "report": {**result.report, **(report or {})},
        **changes,
    }
    folder.mkdir()
    done = export_for_navigation(**values, folder=folder, square_pixels=square_pixels)
    assert sorted(folder / file for file in done.files) == sorted(folder.rglob("*.dcm"))
    return result, done


def image_of(folder: Path) -> sitk.Image:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def stored_peak(folder: Path) -> np.ndarray:
    """Where the brightest pixel of a series lies, by its headers alone."""
    best, place = -np.inf, None
    for path in sorted(folder.iterdir()):
        image = pydicom.dcmread(path)
        values = image.pixel_array * float(image.get("RescaleSlope", 1))
        if values.max() > best:
            best = values.max()
            row, column = np.unravel_index(values.argmax(), values.shape)
            along, down = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
            high, wide = map(float, image.PixelSpacing)
            first = np.array(image.ImagePositionPatient, float)
            place = first + column * wide * along + row * high * down
    return place


# Images


@pytest.mark.parametrize("modality", ["CT", "PT"], ids=["grey", "colour"])
def test_two_other_libraries_find_each_fused_voxel_in_its_oblique_place(tmp_path, modality):
    highdicom = pytest.importorskip("highdicom")
    result, _ = exported(tmp_path / "out", write_pair(tmp_path, modality))
    volume = result.volume
    fused = tmp_path / "out" / "fused"
    expected = volume.voxels
    if modality == "PT":
        expected = np.rint(volume.voxels @ (0.299, 0.587, 0.114) * (4095 / 255))
        colour = sitk.GetArrayFromImage(image_of(tmp_path / "out" / "colour"))
        np.testing.assert_array_equal(colour, volume.voxels)
    image = image_of(fused)
    assert np.abs(sitk.GetArrayFromImage(image) - expected).max() <= (modality == "PT")
    assert image.GetSpacing() == pytest.approx(volume.spacing, abs=1e-6)
    assert image.GetOrigin() == pytest.approx(volume.origin, abs=1e-5)
    assert image.GetDirection() == pytest.approx(volume.directions, abs=1e-6)
    second = highdicom.get_volume_from_series([pydicom.dcmread(file) for file in fused.iterdir()])
    for k, j, i in ((0, 0, 0), (8, 11, 9), (3, 7, 2)):
        point = (volume.affine_lps @ [i, j, k, 1])[:3]
        found = np.rint(second.map_reference_to_indices(point[None])[0]).astype(int)
        assert np.abs(second.map_indices_to_reference(found[None])[0] - point).max() < 1e-4
        assert abs(second.array[tuple(found)] - expected[k, j, i]) <= (modality == "PT")


def test_every_object_says_whose_it_is_and_that_it_is_derived(tmp_path):
    _, done = exported(tmp_path / "out", write_pair(tmp_path))
    source = pydicom.dcmread(tmp_path / "mr" / "IM0003.dcm")
    headers = [pydicom.dcmread(tmp_path / "out" / file) for file in done.files]
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID"):
        assert {str(header[keyword].value) for header in headers} == {str(source[keyword].value)}
    assert len({header.SOPInstanceUID for header in headers}) == len(headers)
    assert len({header.SeriesInstanceUID for header in headers}) == 4
    assert len({header.SeriesNumber for header in headers}) == 4
    images = [header for header in headers if "PixelData" in header]
    assert {header.FrameOfReferenceUID for header in images} == {source.FrameOfReferenceUID}
    fused = pydicom.dcmread(tmp_path / "out" / "fused" / "IM00004.dcm")
    assert fused.SOPClassUID == pydicom.uid.MRImageStorage
    assert "NumberOfFrames" not in fused and fused.BitsAllocated == 16
    assert list(fused.ImageType)[:2] == ["DERIVED", "SECONDARY"]
    assert fused.BurnedInAnnotation == "NO"
    assert "Research use only" in fused.DerivationDescription
    assert fused.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    scalings = {(h.RescaleSlope, h.RescaleIntercept) for h in images if h.Modality == "MR"}
    assert scalings == {(1, 0)}, "one scaling for the whole volume"


@pytest.mark.parametrize("modality", ["CT", "PT"], ids=["grey", "colour"])
@pytest.mark.parametrize("frame", ["1.2.9", "1.2.8"], ids=["two-frames", "one-frame"])
def test_dciodvfy_finds_no_error_in_any_object(tmp_path, modality, frame):
    if shutil.which("dciodvfy") is None:
        pytest.skip("needs dciodvfy (Debian package dicom3tools)")
    tags = {} if frame == "1.2.9" else {"BodyPartExamined": "HEAD"}
    pair = write_pair(tmp_path, modality, frame=frame, **tags)
    _, done = exported(tmp_path / "out", pair, square_pixels=True)
    for file in [*done.files[2:12:9], *done.files[-2:]]:
        checked = subprocess.run(
            ["dciodvfy", str(tmp_path / "out" / file)], capture_output=True, text=True, check=False
        )
        errors = [line for line in checked.stderr.splitlines() if line.startswith("Error")]
        assert errors == [], file


def test_a_name_in_an_older_character_set_keeps_its_letters(tmp_path):
    pair = write_pair(tmp_path)
    for path in tmp_path.glob("*/*"):
        image = pydicom.dcmread(path)
        image.SpecificCharacterSet = "ISO_IR 100" if path.parent.name == "mr" else "ISO_IR 192"
        image.PatientName = "Ångström^Äda"
        image.save_as(path)
    _, done = exported(tmp_path / "out", pair)
    header = pydicom.dcmread(tmp_path / "out" / done.files[0])
    assert header.SpecificCharacterSet == "ISO_IR 192"
    assert str(header.PatientName) == "Ångström^Äda"


# Square pixels


def test_square_pixels_sample_the_same_space(tmp_path):
    """A linear formula of patient coordinates is interpolated without any error but rounding."""

    def formula(points):
        return 2000 + points @ (11.0, -7.0, 5.0)

    grid = Grid((3, 20, 10), (4.0, 2.5, 3.0), directions=turned(33.0))
    place = grid.origin
    voxels = np.stack([formula(grid.slice_points(grid.position(index))) for index in range(3)])
    volume = Volume(
        np.rint(voxels).astype(np.int16),
        grid.spacing,
        tuple(place.tolist()),
        tuple(grid.matrix.ravel().tolist()),
    )
    square = with_square_pixels(volume)
    assert square.spacing == (2.5, 2.5, 3.0)
    assert square.grid_shape == (3, 20, 16), "36 mm between the outer centres, covered"
    np.testing.assert_array_equal(square.voxels[..., 0], volume.voxels[..., 0])
    k, j, i = np.meshgrid(*map(np.arange, square.grid_shape), indexing="ij")
    points = np.stack([i, j, k], -1) @ square.affine_lps[:3, :3].T + square.affine_lps[:3, 3]
    inside = i * 2.5 <= 36.0
    assert np.abs(square.voxels - formula(points))[inside].max() <= 1.0
    np.testing.assert_array_equal(square.voxels[..., -1], volume.voxels[..., -1])
    assert with_square_pixels(square) is square


def test_square_pixels_arrive_in_the_files_and_nothing_else_moves(tmp_path):
    pair = write_pair(tmp_path)
    exported(tmp_path / "plain", pair)
    exported(tmp_path / "square", pair, square_pixels=True)
    plain, square = (image_of(tmp_path / name / "fused") for name in ("plain", "square"))
    assert plain.GetSpacing()[:2] == pytest.approx((3.0, 3.5))
    assert square.GetSpacing() == pytest.approx((3.0, 3.0, 4.0))
    assert square.GetOrigin() == plain.GetOrigin() and square.GetDirection() == plain.GetDirection()
    resampled = sitk.Resample(square, plain)
    difference = sitk.GetArrayFromImage(resampled).astype(int) - sitk.GetArrayFromImage(plain)
    # Two linear interpolations: only what bends within a pixel differs.
    assert np.abs(difference).mean() < 0.02 * sitk.GetArrayFromImage(plain).max()


def test_a_left_handed_grid_is_counted_the_other_way_and_stays_in_place():
    generator = np.random.default_rng(3)
    voxels = generator.integers(0, 4096, (4, 5, 6)).astype(np.int16)
    directions = tuple((turned() * [1, 1, -1]).ravel().tolist())
    left = Volume(voxels, (1.0, 2.0, 3.0), (7.0, 8.0, 9.0), directions)
    right = right_handed(left)
    assert np.linalg.det(right.direction_matrix) == pytest.approx(1)
    for k in range(4):
        point = left.affine_lps @ [2, 3, k, 1]
        i, j, other = np.rint(np.linalg.inv(right.affine_lps) @ point).astype(int)[:3]
        assert right.voxels[other, j, i] == voxels[k, 3, 2]


# Registration


def test_the_registration_takes_what_the_other_shows_to_where_the_reference_shows_it(tmp_path):
    """Only from pixels and headers: the bright spot of both series."""
    exported(tmp_path / "out", write_pair(tmp_path))
    registration = pydicom.dcmread(tmp_path / "out" / REGISTRATION)
    assert registration.FrameOfReferenceUID == "1.2.8"
    items = {item.FrameOfReferenceUID: item for item in registration.RegistrationSequence}
    steps = {
        frame: item.MatrixRegistrationSequence[0].MatrixSequence[0] for frame, item in items.items()
    }
    matrices = {
        frame: np.array(step.FrameOfReferenceTransformationMatrix, float).reshape(4, 4)
        for frame, step in steps.items()
    }
    np.testing.assert_array_equal(matrices["1.2.8"], np.eye(4))
    assert steps["1.2.9"].FrameOfReferenceTransformationMatrixType == "RIGID"
    in_other, in_reference = stored_peak(tmp_path / "other"), stored_peak(tmp_path / "mr")
    assert np.linalg.norm(in_other - in_reference) > 5, "the test would show nothing"
    taken = (matrices["1.2.9"] @ [*in_other, 1])[:3]
    assert np.linalg.norm(taken - in_reference) < 3.5, "half a voxel's diagonal of each"
    # And exactly, by ITK: what is at p in the reference is at T(p) in the other.
    for point in ((0.0, 0.0, 0.0), (30.0, -20.0, 11.0), (-5.0, 60.0, -40.0)):
        there = rigid().TransformPoint(point)
        assert (matrices["1.2.9"] @ [*there, 1])[:3] == pytest.approx(point, abs=1e-8)
    named = {image.ReferencedSOPInstanceUID for image in items["1.2.9"].ReferencedImageSequence}
    files = [pydicom.dcmread(path) for path in (tmp_path / "other").iterdir()]
    assert named == {image.SOPInstanceUID for image in files}


def test_images_that_moved_within_one_frame_are_related_by_their_names(tmp_path):
    pair = write_pair(tmp_path, frame="1.2.8")
    _, done = exported(tmp_path / "out", pair)
    registration = pydicom.dcmread(tmp_path / "out" / REGISTRATION)
    assert all("FrameOfReferenceUID" not in item for item in registration.RegistrationSequence)
    assert done.notes == []


def test_images_that_lie_right_already_need_no_registration(tmp_path):
    still = sitk.Euler3DTransform()
    pair = write_pair(tmp_path, transform=still, frame="1.2.8")
    _, done = exported(tmp_path / "out", pair, transform="resample")
    assert not (tmp_path / "out" / REGISTRATION).exists()
    assert "No registration was written" in done.notes[0]
    blending = pydicom.dcmread(tmp_path / "out" / BLENDING)
    assert "ReferencedSpatialRegistrationSequence" not in blending


def test_the_kind_of_matrix_is_named_as_dicom_names_it():
    turn = np.eye(4)
    turn[:3, :3] = turned(40.0)
    turn[:3, 3] = 5, 6, 7
    assert matrix_type(turn) == "RIGID"
    assert matrix_type(turn @ np.diag([1.1, 1.1, 1.1, 1])) == "RIGID_SCALE"
    assert matrix_type(turn @ np.diag([1.1, 1.0, 1.0, 1])) == "AFFINE"


# Blending


def test_the_blending_state_shows_each_slice_in_the_window_in_which_it_was_fused(tmp_path):
    """Rendered by highdicom and pydicom from the stored pixels, which are scaled slice by slice."""
    highdicom = pytest.importorskip("highdicom")
    from pydicom.pixels.processing import apply_color_lut

    pair = write_pair(tmp_path)
    result, _ = exported(tmp_path / "out", pair)
    state = pydicom.dcmread(tmp_path / "out" / BLENDING)
    under, over = state.BlendingSequence
    assert (under.BlendingPosition, over.BlendingPosition) == ("UNDERLYING", "SUPERIMPOSED")
    assert (under.StudyInstanceUID, over.StudyInstanceUID) == ("1.2.4.1", "1.2.4.2")
    windows = {
        item.ReferencedImageSequence[0].ReferencedSOPInstanceUID: item
        for item in over.SoftcopyVOILUTSequence
    }
    shown = result.report["other"]["window"]
    for path in (tmp_path / "other").iterdir():
        image = pydicom.dcmread(path)
        item = windows[image.SOPInstanceUID]
        stored = image.pixel_array * float(over.RescaleSlope) + float(over.RescaleIntercept)
        voi = highdicom.VOILUTTransformation(float(item.WindowCenter), float(item.WindowWidth))
        entries = voi.apply(stored, output_range=(0, 255))
        real = image.pixel_array * float(image.RescaleSlope)
        unit = np.clip((real - shown["low"]) / (shown["high"] - shown["low"]), 0, 1)
        np.testing.assert_allclose(entries, 255 * unit, atol=1e-3)
        colours = apply_color_lut(np.rint(entries).astype(np.uint8), state) / 65535
        expected = palette_of(result.report["colour"])[np.rint(255 * unit).astype(int)]
        assert np.abs(colours - expected).max() < 1e-4
    low, high = (result.report["reference"]["window"][end] for end in ("low", "high"))
    item = under.SoftcopyVOILUTSequence[0]
    voi = highdicom.VOILUTTransformation(float(item.WindowCenter), float(item.WindowWidth))
    ends = voi.apply(np.array([[low, (low + high) / 2, high]]), output_range=(0, 1))
    assert ends[0] == pytest.approx([0, 0.5, 1], abs=1e-6)


def test_the_blending_state_names_the_registration_and_both_series(tmp_path):
    exported(tmp_path / "out", write_pair(tmp_path, "CT"))
    state, registration = (
        pydicom.dcmread(tmp_path / "out" / name) for name in (BLENDING, REGISTRATION)
    )
    place = state.ReferencedSpatialRegistrationSequence[0]
    series = place.ReferencedSeriesSequence[0]
    assert place.StudyInstanceUID == registration.StudyInstanceUID
    assert series.SeriesInstanceUID == registration.SeriesInstanceUID
    named = series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert named == registration.SOPInstanceUID
    for layer, folder in zip(state.BlendingSequence, ("mr", "other"), strict=True):
        files = [pydicom.dcmread(path) for path in (tmp_path / folder).iterdir()]
        images = layer.ReferencedSeriesSequence[0]
        assert images.SeriesInstanceUID == files[0].SeriesInstanceUID
        named = {image.ReferencedSOPInstanceUID for image in images.ReferencedImageSequence}
        assert named == {image.SOPInstanceUID for image in files}


def test_the_profile_of_the_palette_is_srgb_to_a_colour_engine():
    cms = pytest.importorskip("PIL.ImageCms")
    image = pytest.importorskip("PIL.Image")
    profile = cms.ImageCmsProfile(io.BytesIO(srgb_profile()))
    assert profile.profile.device_class == "scnr", "an input profile (PS3.3, C.11.15.1.1)"
    colours = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    taken = cms.profileToProfile(image.fromarray(colours), profile, cms.createProfile("sRGB"))
    assert np.abs(np.array(taken).astype(int) - colours).max() <= 1


def test_what_cannot_be_blended_or_related_is_left_out_and_told(tmp_path):
    write_enhanced(tmp_path / "mr.dcm", OBLIQUE)
    _, other = write_pair(tmp_path)
    _, done = exported(tmp_path / "multi", (read_volume(tmp_path / "mr.dcm"), other))
    assert (tmp_path / "multi" / REGISTRATION).exists()
    assert not (tmp_path / "multi" / BLENDING).exists()
    assert "multi-frame" in done.notes[0]
    reference = read_volume(tmp_path / "mr")
    plain = replace(other, metadata={})
    _, done = exported(tmp_path / "plain", (reference, plain))
    assert {file.parent.name for file in done.files} == {"fused", "colour"}
    assert "the other volume is no DICOM series" in done.notes[0]


# Refusals


def moved(volume: Volume, shift=(0.0, 0.0, 0.0), degrees=0.0) -> Volume:
    """As if a volume had been hardened under a transform."""
    directions = turned(degrees) @ volume.direction_matrix
    x, y, z = (np.array(volume.origin) + shift).tolist()
    return replace(volume, origin=(x, y, z), directions=tuple(directions.ravel().tolist()))


def test_what_could_mislead_a_surgeon_is_refused_and_leaves_nothing(tmp_path):
    pair = reference, other = write_pair(tmp_path)
    fused = fuse(reference, other, "average", rigid()).volume
    bent = {"transform": {"kind": "given", "matrix": None}}
    failed = {"registration": {"quality": {"verdict": "failed", "reason": "Too far."}}}
    as_it_lies = {"transform": {"kind": "resample", "matrix": np.eye(4).tolist()}}
    somebody = {**other.metadata, "patient_id": "2"}
    turn, shift = moved(other, degrees=3.0), moved(other, (0.0, 0.5, 0.0))
    cases = [
        (InputError, "not linear", {"report": bent}),
        (RegistrationError, "Too far", {"report": failed}),
        (GeometryError, "no registration relates", {"report": as_it_lies}),
        (IdentityError, "different patients", {"other_metadata": somebody}),
        (InputError, "reference as DICOM", {"reference_metadata": {}}),
        (GeometryError, "fused volume does not lie", {"volume": moved(fused, (1.0, 0.0, 0.0))}),
        (GeometryError, "fused volume does not lie", {"volume": moved(fused, degrees=2.0)}),
        (GeometryError, "other volume does not lie", {"other_place": place_of(turn)}),
        (GeometryError, "other volume does not lie", {"other_place": place_of(shift)}),
        (InputError, "fused volume can be exported", {"volume": reference_in_hounsfield(fused)}),
    ]
    for number, (kind, sentence, changes) in enumerate(cases):
        folder = tmp_path / f"case-{number}"
        with pytest.raises(kind, match=sentence):
            exported(folder, pair, **changes)
        assert list(folder.iterdir()) == []


def reference_in_hounsfield(volume: Volume) -> Volume:
    return replace(volume, voxels=np.full(volume.grid_shape, 5000, np.int16))


def test_a_reference_without_a_frame_of_reference_is_refused(tmp_path):
    pair = write_pair(tmp_path)
    for path in (tmp_path / "mr").iterdir():
        image = pydicom.dcmread(path)
        del image.FrameOfReferenceUID
        image.save_as(path)
    with pytest.raises(MedFusionError, match="no frame of reference"):
        exported(tmp_path / "out", pair)


def test_patients_are_told_apart_by_their_images_where_the_scene_knows_no_names(tmp_path):
    reference, other = write_pair(tmp_path)
    for path in (tmp_path / "other").iterdir():
        image = pydicom.dcmread(path)
        image.PatientID = "2"
        image.save_as(path)
    files = {"source_files": other.metadata["source_files"]}
    with pytest.raises(IdentityError, match="ID differ"):
        exported(tmp_path / "out", (reference, replace(other, metadata=files)))
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("kind", ["uneven", "tilted"])
def test_series_that_had_to_be_straightened_still_lie_in_their_place(tmp_path, kind):
    pair = write_pair(tmp_path)
    shutil.rmtree(tmp_path / "mr")
    steps = [0, 1, 2, 3, 4.5, 6, 7.5, 9] if kind == "uneven" else range(8)
    tilt = 0.0 if kind == "uneven" else 1.3
    places = [OBLIQUE.position(step) + tilt * step * OBLIQUE.matrix[:, 1] for step in steps]
    write_series(tmp_path / "mr", OBLIQUE, "MR", edit=series_of(1, "1.2.8"), positions=places)
    reference = read_volume(tmp_path / "mr")
    assert reference.metadata["warnings"]
    exported(tmp_path / "out", (reference, pair[1]), square_pixels=True)
