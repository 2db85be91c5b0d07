"""Made DICOM series of any volume, and a database of series that answers as Slicer's does."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pydicom
from dicom_phantom import blank, decimals, set_pixels, write

from MedFusionLib.volumes.volume import Volume

JANE = {"PatientID": "A1", "PatientName": "DOE^JANE", "PatientBirthDate": "19500102"}
RICHARD = {"PatientID": "B2", "PatientName": "ROE^RICHARD", "PatientBirthDate": "19610708"}


def uid(name: str) -> str:
    """A UID of its own for each name."""
    return f"2.25.{int(hashlib.sha256(name.encode()).hexdigest()[:24], 16)}"


def write_dicom(folder: Path, volume: Volume, modality: str, name: str, **fields) -> Path:
    """One file a slice; ``fields`` are values by keyword, ``name`` is the series' description."""
    plain = {
        **JANE,
        "StudyInstanceUID": uid("study"),
        "StudyDate": "20240305",
        "FrameOfReferenceUID": uid("frame"),
        "SeriesNumber": 1,
    }
    low = float(volume.voxels.min())
    slope = max(float(volume.voxels.max()) - low, 1.0) / 30000
    directions = volume.direction_matrix
    for index, plane in enumerate(volume.voxels):
        image = blank(modality)
        image.SeriesDescription, image.SeriesInstanceUID = name, uid(f"{folder}/{name}")
        image.InstanceNumber = index + 1
        image.PixelSpacing = decimals([volume.spacing[1], volume.spacing[0]])
        image.SliceThickness = decimals([volume.spacing[2]])[0]
        image.ImageOrientationPatient = decimals((*directions[:, 0], *directions[:, 1]))
        image.ImagePositionPatient = decimals((volume.affine_lps @ [0, 0, index, 1])[:3])
        image.RescaleSlope, image.RescaleIntercept = f"{slope:.9g}", f"{low:.9g}"
        for keyword, value in (plain | fields).items():
            setattr(image, keyword, value)
        set_pixels(image, np.rint((plane - low) / slope).astype("<i2"))
        write(image, folder / f"IM{index:04d}.dcm")
    return folder


class Database:
    """The questions of ctkDICOMDatabase that the panel asks, answered from files' headers."""

    isOpen = True

    def __init__(self, folder: Path) -> None:
        self._images = [
            (path, pydicom.dcmread(path, stop_before_pixels=True))
            for path in sorted(folder.rglob("*.dcm"))
        ]

    def _first(self, keyword: str, value: str):
        return next(image for _, image in self._images if str(image.get(keyword)) == value)

    def _all(self, wanted: str, keyword: str, value: str) -> list[str]:
        found = (str(image.get(wanted)) for _, image in self._images if image.get(keyword) == value)
        return list(dict.fromkeys(found))

    @staticmethod
    def _patient(image) -> str:
        return f"{image.PatientID}~{image.PatientBirthDate}~{image.PatientName}"

    def patients(self):
        return list(dict.fromkeys(self._patient(image) for _, image in self._images))

    def studiesForPatient(self, patient):
        found = (
            image.StudyInstanceUID for _, image in self._images if self._patient(image) == patient
        )
        return list(dict.fromkeys(found))

    def seriesForStudy(self, study):
        return self._all("SeriesInstanceUID", "StudyInstanceUID", study)

    def instancesForSeries(self, series):
        return self._all("SOPInstanceUID", "SeriesInstanceUID", series)

    def filesForSeries(self, series):
        return [str(path) for path, image in self._images if image.SeriesInstanceUID == series]

    def descriptionForSeries(self, series):
        return self.fieldForSeries("SeriesDescription", series)

    def fieldForPatient(self, column, patient):
        image = next(one for _, one in self._images if self._patient(one) == patient)
        return _cell(image, column.replace("Patients", "Patient"))

    def fieldForStudy(self, column, study):
        return _cell(self._first("StudyInstanceUID", study), column)

    def fieldForSeries(self, column, series):
        return _cell(self._first("SeriesInstanceUID", series), column)

    def fileForInstance(self, instance):
        return next(str(path) for path, image in self._images if image.SOPInstanceUID == instance)


def _cell(image, keyword: str) -> str:
    """A column's text; the database keeps dates as YYYY-MM-DD."""
    text = str(image.get(keyword) or "")
    isDate = keyword.endswith("Date") and len(text) == 8
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if isDate else text
