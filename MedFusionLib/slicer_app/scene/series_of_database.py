"""The series of Slicer's DICOM database, from its own fields and one header of each series."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import slicer

from MedFusionLib.errors import InputError
from MedFusionLib.slicer_app.translation import _
from MedFusionLib.volumes.identity import IDENTITY_FIELDS
from MedFusionLib.volumes.modality import DICOM_MODALITIES
from MedFusionLib.volumes.series_facts import Patient, SeriesFacts, patients_of
from MedFusionLib.volumes.series_headers import header_facts

IDENTITY = tuple(IDENTITY_FIELDS)
PATIENT_FIELDS = {
    "patient_id": "PatientID",
    "patient_name": "PatientsName",
    "patient_birth_date": "PatientsBirthDate",
    "patient_sex": "PatientsSex",
}
"""Names of the database's columns."""


def openDatabase():
    """Slicer's DICOM database, or None while there is none or it is closed."""
    database = getattr(slicer, "dicomDatabase", None)
    return database if database is not None and database.isOpen else None


def patientsInSteps(database) -> Iterator[list[Patient]]:
    """The patients of the database, a few at each step, so that the window lives meanwhile."""
    for patient in database.patients():
        series = []
        for study in database.studiesForPatient(patient):
            for uid in database.seriesForStudy(study):
                if database.fieldForSeries("Modality", uid) in DICOM_MODALITIES:
                    series.append(_seriesOf(database, patient, study, uid))
                    yield []
        yield patients_of(series)[0]


def _seriesOf(database, patient: str, study: str, uid: str) -> SeriesFacts:
    instances = database.instancesForSeries(uid)
    header = headerOf(database, instances)
    if header.get("shape") and header["shape"][0] <= 1:
        header["shape"] = (len(instances), *header["shape"][1:])
    number = database.fieldForSeries("SeriesNumber", uid)
    description = database.descriptionForSeries(uid) or _("no description")
    return SeriesFacts(
        key=uid,
        name=f"{number}: {description}" if number else description,
        modality=DICOM_MODALITIES[database.fieldForSeries("Modality", uid)],
        identity=_identityOf(database, patient),
        study_uid=study,
        study_date=_digits(database.fieldForStudy("StudyDate", study)),
        frame_of_reference_uid=database.fieldForSeries("FrameOfReferenceUID", uid),
        **header,
    )


def _identityOf(database, patient: str) -> dict[str, str]:
    found = {
        name: database.fieldForPatient(column, patient) for name, column in PATIENT_FIELDS.items()
    }
    found["patient_birth_date"] = _digits(found["patient_birth_date"])
    return {name: text for name, text in found.items() if text}


def _digits(date: str) -> str:
    """A date of the database (YYYY-MM-DD) as DICOM writes it."""
    return date.replace("-", "")


def headerOf(database, instances: Sequence[str]) -> dict[str, Any]:
    """What the header of one image of a series tells; nothing where its file is gone."""
    # An overview may be the first image of a series, never the middle one.
    file = database.fileForInstance(instances[len(instances) // 2]) if instances else ""
    return header_facts(Path(file)) if file else {}


def filesOfSeries(database) -> Callable[[str], list[Path]]:
    """A function from the UID of a series to its files; all of them, or an ``InputError``."""

    def filesOf(uid: str) -> list[Path]:
        files = [Path(file) for file in database.filesForSeries(uid)]
        here = [file for file in files if file.is_file()]
        if not here or len(here) < len(files):
            raise InputError(
                _(
                    "{missing} of {count} images of the series are not on this computer. Import or "
                    "retrieve the series again."
                ).format(missing=len(files) - len(here), count=len(files))
            )
        return here

    return filesOf
