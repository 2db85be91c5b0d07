"""The derived DICOM series, read by SimpleITK and pydicom and checked by dciodvfy."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest
import SimpleITK as sitk

pydicom = pytest.importorskip("pydicom", reason="needs pydicom")

from MedFusionLib.errors import GeometryError, InputError  # noqa: E402
from MedFusionLib.volumes.dicom_export import export_dicom  # noqa: E402
from MedFusionLib.volumes.files import read_volume  # noqa: E402
from MedFusionLib.volumes.volume import Volume, to_image  # noqa: E402

REPORT = {
    "version": "0.1.0",
    "method": "asfe",
    "weights_sha256": "ab" * 32,
    "plane": "axial",
    "transform": {"kind": "rigid", "matrix": np.eye(4).tolist()},
    "reference": {"modality": "MR"},
    "other": {"modality": "PET"},
}
STUDY = {
    "study_uid": "1.2.826.0.1.3680043.2.1",
    "frame_of_reference_uid": "1.2.826.0.1.3680043.2.2",
}


def oblique() -> tuple[float, ...]:
    angle = np.deg2rad(20)
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    tilt = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])
    return tuple((turn @ tilt).ravel().tolist())


def fused(colour: bool = False) -> Volume:
    """Oblique, anisotropic, with an odd number of bytes in each colour slice."""
    generator = np.random.default_rng(5)
    shape = (7, 9, 11)
    voxels = (
        generator.integers(0, 256, (*shape, 3), dtype=np.uint8)
        if colour
        else generator.integers(0, 4096, shape).astype(np.int16)
    )
    return Volume(voxels, (0.9765625, 1.25, 3.3), (-101.123456789, 87.1, -33.3), oblique())


def read_back(folder) -> sitk.Image:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def source_series(folder, modality: str, seed: int) -> None:
    """A plain original series of 7 slices on the fused volume's grid."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

    folder.mkdir()
    volume = fused()
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for index in range(7):
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.SOPClassUID = MRImageStorage
        image.SOPInstanceUID = generate_uid()
        image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.StudyInstanceUID, image.SeriesInstanceUID = study, series
        image.FrameOfReferenceUID = frame
        image.PatientName, image.PatientID = "Ångström^Äda", "P-0815"
        image.PatientBirthDate, image.PatientSex = "19700102", "F"
        image.SpecificCharacterSet = "ISO_IR 192"
        image.StudyID, image.AccessionNumber = "77", "A1"
        image.StudyDate, image.StudyTime, image.ReferringPhysicianName = "20260101", "120000", ""
        image.Modality, image.ImageType = modality, ["ORIGINAL", "PRIMARY"]
        image.Rows, image.Columns = 9, 11
        image.PixelSpacing = ["1.25", "0.9765625"]
        directions = volume.direction_matrix
        image.ImageOrientationPatient = [
            f"{value:.10f}" for value in (*directions[:, 0], *directions[:, 1])
        ]
        position = (volume.affine_lps @ [0, 0, index, 1])[:3]
        image.ImagePositionPatient = [f"{value:.9f}" for value in position]
        image.InstanceNumber = index + 1
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
        image.PixelRepresentation = 0
        generator = np.random.default_rng(seed + index)
        image.PixelData = generator.integers(0, 999, (9, 11)).astype("<u2").tobytes()
        image.save_as(folder / f"{index}.dcm", enforce_file_format=True)


@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
def test_simpleitk_reads_the_same_voxels_on_the_same_grid(tmp_path, colour):
    volume = fused(colour)
    export_dicom(volume, STUDY, REPORT, tmp_path / "series")
    image, expected = read_back(tmp_path / "series"), to_image(volume)
    assert image.GetSize() == expected.GetSize()
    assert image.GetSpacing() == pytest.approx(expected.GetSpacing(), abs=1e-6)
    assert image.GetOrigin() == pytest.approx(expected.GetOrigin(), abs=1e-6)
    assert image.GetDirection() == pytest.approx(expected.GetDirection(), abs=1e-6)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), volume.voxels)


def test_a_left_handed_grid_keeps_every_voxel_in_its_place(tmp_path):
    volume = fused()
    directions = tuple((volume.direction_matrix * [1, 1, -1]).ravel().tolist())
    volume = Volume(volume.voxels, volume.spacing, volume.origin, directions)
    export_dicom(volume, STUDY, REPORT, tmp_path / "series")
    image, expected = read_back(tmp_path / "series"), to_image(volume)
    for index in ((0, 0, 0), (10, 3, 5), (4, 8, 6)):
        point = expected.TransformIndexToPhysicalPoint(index)
        assert image[image.TransformPhysicalPointToIndex(point)] == expected[index]


@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
def test_dciodvfy_finds_no_error(tmp_path, colour):
    if shutil.which("dciodvfy") is None:
        pytest.skip("needs dciodvfy (Debian package dicom3tools)")
    source_series(tmp_path / "mr", "MR", 0)
    source_series(tmp_path / "pt", "PT", 50)
    reference, other = read_volume(tmp_path / "mr"), read_volume(tmp_path / "pt")
    cases = (({}, None), (STUDY, None), (reference.metadata, other.metadata))
    for number, (metadata, otherMetadata) in enumerate(cases):
        files = export_dicom(fused(colour), metadata, REPORT, tmp_path / str(number), otherMetadata)
        checked = subprocess.run(
            ["dciodvfy", str(files[3])], capture_output=True, text=True, check=False
        )
        errors = [line for line in checked.stderr.splitlines() if line.startswith("Error")]
        assert errors == []


def test_the_series_names_its_sources_patient_study_and_space(tmp_path):
    source_series(tmp_path / "mr", "MR", 0)
    source_series(tmp_path / "pt", "PT", 50)
    reference, other = read_volume(tmp_path / "mr"), read_volume(tmp_path / "pt")
    files = export_dicom(fused(), reference.metadata, REPORT, tmp_path / "out", other.metadata)
    source = pydicom.dcmread(tmp_path / "mr" / "3.dcm")
    derived = pydicom.dcmread(files[3])
    for keyword in (
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "StudyInstanceUID",
        "StudyDate",
        "AccessionNumber",
        "FrameOfReferenceUID",
    ):
        assert derived[keyword].value == source[keyword].value
    assert derived.SeriesInstanceUID != source.SeriesInstanceUID
    assert list(derived.ImageType)[:2] == ["DERIVED", "SECONDARY"]
    referenced = [item.ReferencedSOPInstanceUID for item in derived.SourceImageSequence]
    assert referenced[0] == source.SOPInstanceUID
    others = {pydicom.dcmread(file).SOPInstanceUID for file in (tmp_path / "pt").iterdir()}
    assert set(referenced[1:]) == others


def test_the_description_tells_method_weights_and_purpose(tmp_path):
    files = export_dicom(fused(), STUDY, REPORT, tmp_path / "out")
    text = pydicom.dcmread(files[0]).DerivationDescription
    for part in ("asfe", "ab" * 32, "rigid", "MR and PET", "not for diagnosis"):
        assert part in text
    assert pydicom.dcmread(files[0]).RescaleType == "US", "unspecified: neither HU nor uptake"


def test_a_fusion_of_three_names_all_of_them_and_references_the_images_of_each(tmp_path):
    for number, name in enumerate(("mr", "ct", "pt")):
        source_series(tmp_path / name, name.upper(), number)
    mr, ct, pt = (read_volume(tmp_path / name).metadata for name in ("mr", "ct", "pt"))
    further = [{"modality": "CT", "transform": {"kind": "resample"}}]
    report = {**REPORT, "further": further, "planes": "three"}
    files = export_dicom(fused(), mr, report, tmp_path / "out", pt, [ct])
    derived = pydicom.dcmread(files[0])
    assert derived.SeriesDescription == "MedFusion asfe: MR + PET + CT"
    for part in ("MR, PET and CT", "all three planes", "rigid, resample"):
        assert part in derived.DerivationDescription
    referenced = {item.ReferencedSOPInstanceUID for item in derived.SourceImageSequence}
    for name in ("ct", "pt"):
        images = {pydicom.dcmread(file).SOPInstanceUID for file in (tmp_path / name).iterdir()}
        assert images <= referenced


def test_all_images_share_one_series_and_no_two_share_an_instance(tmp_path):
    headers = [pydicom.dcmread(file) for file in export_dicom(fused(), {}, REPORT, tmp_path / "o")]
    assert len({header.SeriesInstanceUID for header in headers}) == 1
    assert len({header.FrameOfReferenceUID for header in headers}) == 1
    assert len({header.SOPInstanceUID for header in headers}) == 7
    again = export_dicom(fused(), {}, REPORT, tmp_path / "again")
    assert pydicom.dcmread(again[0]).SeriesInstanceUID != headers[0].SeriesInstanceUID


def test_a_folder_with_files_is_refused_and_left_as_it_is(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="not empty"):
        export_dicom(fused(), STUDY, REPORT, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_a_volume_that_was_not_fused_is_refused_and_writes_nothing(tmp_path):
    hounsfield = Volume(np.full((3, 4, 5), -1000, np.int16), (1, 1, 1), (0, 0, 0))
    with pytest.raises(InputError, match="fused volume"):
        export_dicom(hounsfield, STUDY, REPORT, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_volume_that_was_moved_is_not_said_to_lie_in_the_reference_s_space(tmp_path):
    source_series(tmp_path / "mr", "MR", 0)
    reference = read_volume(tmp_path / "mr")
    volume = fused()
    x, y, z = volume.origin
    moved = Volume(volume.voxels, volume.spacing, (x, y, z + 1.0), volume.directions)
    with pytest.raises(GeometryError, match="does not lie where its DICOM images lie"):
        export_dicom(moved, reference.metadata, REPORT, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_source_image_that_is_gone_is_told_and_writes_nothing(tmp_path):
    metadata = {"source_files": str(tmp_path / "gone.dcm")}
    with pytest.raises(InputError, match="can no longer be read"):
        export_dicom(fused(), metadata, REPORT, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
