"""Two volumes of two people are refused, whatever their headers are spelled like."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from dicom_phantom import write_series

from MedFusionLib.errors import IdentityError
from MedFusionLib.fusion import fuse
from MedFusionLib.registration.align import align
from MedFusionLib.volumes.files import read_volume
from MedFusionLib.volumes.identity import differing_fields, refuse_two_patients
from MedFusionLib.volumes.volume import Volume

EVE = {
    "patient_id": "P-0815",
    "patient_name": "Doe^Eve",
    "patient_birth_date": "19700102",
    "patient_sex": "F",
}


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("patient_id", "P-0816", "ID"),
        ("patient_name", "Doe^Ada", "name"),
        ("patient_birth_date", "19700201", "birth date"),
        ("patient_sex", "M", "sex"),
    ],
)
def test_each_field_that_differs_is_named(field, value, words):
    assert differing_fields(EVE, EVE | {field: value}) == [words]


@pytest.mark.parametrize(
    "other",
    [
        {},
        EVE,
        {"patient_id": " p-0815 ", "patient_name": "DOE^EVE^^"},
        {"patient_name": "Doe, Eve"},
        {"patient_name": "Doe^Eve=伊芙"},
        {"patient_id": "ANONYMOUS", "patient_name": "Anonymized", "patient_birth_date": "19000101"},
        {"patient_id": "XXXX", "patient_name": "0", "patient_sex": "O"},
        {"patient_id": "sub-01", "patient_identity_removed": "YES"},
    ],
)
def test_missing_emptied_and_differently_spelled_fields_tell_nothing(other):
    assert differing_fields(EVE, other) == []
    assert differing_fields(other, EVE) == []


def test_two_pseudonyms_are_two_people():
    one = {"patient_id": "sub-01", "patient_identity_removed": "YES"}
    assert differing_fields(one, one | {"patient_id": "sub-02"}) == ["ID"]


def block(metadata) -> Volume:
    """A textured block in empty space."""
    voxels = np.zeros((10, 20, 20), np.float32)
    voxels[2:8, 5:15, 5:15] = np.random.default_rng(0).uniform(200, 900, (6, 10, 10))
    return Volume(voxels, (1.0, 1.0, 2.0), (0.0, 0.0, 0.0), modality="MR", metadata=metadata)


def test_fusing_two_people_is_refused_with_both_names_and_can_be_forced():
    reference, other = block(EVE), block(EVE | {"patient_name": "Roe^Adam", "patient_sex": "M"})
    with pytest.raises(IdentityError, match=r"name, sex differ.*Doe\^Eve.*Roe\^Adam.*--force"):
        fuse(reference, other, method="average")
    forced = fuse(reference, other, method="average", force=True)
    assert "different patients" in forced.report["warnings"][0]


def test_a_fused_volume_still_knows_whose_it_is():
    fused = fuse(block(EVE), block({}), method="average").volume
    stranger = replace(block({}), metadata=EVE | {"patient_id": "P-0816"})
    with pytest.raises(IdentityError):
        refuse_two_patients(replace(fused, modality="MR"), stranger, force=False)


def test_aligning_two_people_is_refused():
    with pytest.raises(IdentityError, match="different patients"):
        align(block(EVE), block(EVE | {"patient_id": "P-0816"}), kind="none")


def test_two_series_of_two_people_are_refused_by_the_whole_way(tmp_path):
    one = read_volume(write_series(tmp_path / "one", modality="MR"))
    two = read_volume(
        write_series(tmp_path / "two", edit=lambda image, _: setattr(image, "PatientID", "2"))
    )
    with pytest.raises(IdentityError, match=r"ID '1'.*ID '2'"):
        fuse(one, two, method="average")
