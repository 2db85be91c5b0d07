"""DICOM series, written by pydicom and read by MedFusion."""

from __future__ import annotations

import tarfile

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from MedFusionLib.errors import InputError
from MedFusionLib.volumes.dicom_series import read_files
from MedFusionLib.volumes.files import read_volume


def write_slice(path, series, pixels, position, orientation=(1, 0, 0, 0, 1, 0), modality="CT"):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    data.Modality, data.SeriesInstanceUID = modality, series
    data.StudyInstanceUID = data.FrameOfReferenceUID = "1.2.3"
    data.ImagePositionPatient, data.ImageOrientationPatient = list(position), list(orientation)
    data.PixelSpacing, data.Rows, data.Columns = [2.0, 2.0], *pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 1
    data.PixelData = pixels.astype("<i2").tobytes()
    data.save_as(path, enforce_file_format=True)


def write_series(folder, places, series="1.2.3.1", value=lambda place: 10 * place, sideways=0.0):
    """Slices at the places (mm along z); each pixel of a slice is a function of its place."""
    for index, place in enumerate(places):
        pixels = np.full((8, 9), value(place)) + np.arange(9)
        position = (-3.0, 4.0 + sideways * place, place)
        write_slice(folder / f"{series}-{index}.dcm", series, pixels, position)


def test_an_even_series_is_read_with_its_place_and_modality(tmp_path):
    write_series(tmp_path, [0, 3, 6, 9])
    volume = read_volume(tmp_path)
    assert volume.grid_shape == (4, 8, 9)
    assert volume.spacing == (2.0, 2.0, 3.0)
    assert volume.origin == (-3.0, 4.0, 0.0)
    assert (volume.modality, volume.metadata["modality_source"]) == ("CT", "dicom")
    assert volume.metadata["frame_of_reference_uid"] == "1.2.3"
    assert volume.voxels[2, 0, 0] == 60


def test_several_series_are_listed_and_one_can_be_picked(tmp_path):
    write_series(tmp_path, [0, 3, 6], "1.2.3.1")
    write_series(tmp_path, [0, 3, 6], "1.2.3.2", lambda place: 500)
    with pytest.raises(InputError, match=r"1\.2\.3\.1.*1\.2\.3\.2.*--series"):
        read_volume(tmp_path)
    picked = next(uid for uid in _uids(tmp_path) if "1.2.3.2" in uid)
    assert read_volume(tmp_path, series=picked).voxels.min() == 500


def _uids(folder):
    from MedFusionLib.volumes.dicom_series import list_series

    return list(list_series(folder))


def test_uneven_gaps_are_named_and_resampled_to_an_even_grid(tmp_path):
    # Values grow linearly with the place, so linear interpolation must find them exactly.
    places = [0, 2, 4, 6, 9, 12, 15]
    write_series(tmp_path, places)
    volume = read_volume(tmp_path)
    assert "2 mm (3×), 3 mm (3×)" in volume.metadata["warnings"]
    assert volume.spacing[2] == 2.0
    assert volume.voxels[:, 0, 0].tolist() == [0, 20, 40, 60, 80, 100, 120, 140]


def test_missing_slices_are_refused(tmp_path):
    write_series(tmp_path, [0, 3, 6, 12, 15, 18])
    with pytest.raises(InputError, match="missing"):
        read_volume(tmp_path)


def test_a_tilted_gantry_is_straightened_to_where_the_tissue_lies(tmp_path):
    # A value that depends on y in the patient, in slices that are shifted along y.
    for index, place in enumerate([0.0, 4.0, 8.0, 12.0]):
        rows = 10 + 0.5 * place + 2.0 * np.arange(30)
        pixels = np.repeat(10 * rows[:, None], 9, axis=1)
        write_slice(tmp_path / f"{index}.dcm", "1.2.3.9", pixels, (0, 10 + 0.5 * place, place))
    volume = read_volume(tmp_path)
    assert "tilted by 26.6 degrees" in volume.metadata["warnings"]
    y = volume.origin[1] + 2.0 * np.arange(volume.grid_shape[1])
    for plane in volume.voxels[:, :, 4]:
        covered = plane > volume.voxels.min()
        assert np.allclose(plane[covered], 10 * y[covered], atol=1)


def test_the_real_uneven_series_warns_and_comes_out_even(shared, tmp_path):
    with tarfile.open(shared / "data/dicom/dcm_qa_ct_GE.tgz") as archive:
        archive.extractall(tmp_path, filter="data")
    volume = read_volume(tmp_path / "dcm_qa_ct_GE")
    assert "1.08 mm (1×), 4 mm (13×), 7 mm (13×)" in volume.metadata["warnings"]
    # The middle of a slice that was measured must be where its header says.
    header = pydicom.dcmread(tmp_path / "dcm_qa_ct_GE" / "10.dcm")
    from MedFusionLib.volumes.volume import to_image

    row, column = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
    step = float(header.PixelSpacing[0])
    point = np.array(header.ImagePositionPatient, float) + 256 * step * (row + column)
    found = to_image(volume).EvaluateAtPhysicalPoint(point.tolist())
    stored = header.pixel_array[256, 256] * header.RescaleSlope + header.RescaleIntercept
    assert abs(found - stored) < 1.0


def test_a_folder_without_a_series_is_refused(tmp_path):
    with pytest.raises(InputError, match="no DICOM series"):
        read_volume(tmp_path)


def test_the_files_of_a_series_are_read_wherever_they_lie(tmp_path):
    for folder, places in (("a", [0, 6]), ("b", [3, 9])):
        (tmp_path / folder).mkdir()
        for place in places:
            pixels = np.full((8, 9), 10 * place) + np.arange(9)
            write_slice(tmp_path / folder / f"{place}.dcm", "1.2.3.1", pixels, (-3.0, 4.0, place))
    volume = read_files(sorted(tmp_path.rglob("*.dcm")))
    assert volume.voxels[:, 0, 0].tolist() == [0, 30, 60, 90]
    assert volume.origin == (-3.0, 4.0, 0.0)
    assert len(volume.metadata["source_files"].splitlines()) == 4


def test_a_listed_file_that_cannot_be_read_is_refused_even_at_an_end(tmp_path):
    write_series(tmp_path, [0, 3, 6, 9])
    files = sorted(tmp_path.iterdir())
    files[-1].unlink()
    with pytest.raises(InputError, match="1 of 4 files"):
        read_files(files)
    files[-1].write_text("no image")
    with pytest.raises(InputError, match="1 of 4 files"):
        read_files(files)
    with pytest.raises(InputError, match="no files"):
        read_files([])
