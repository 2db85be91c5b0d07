"""What a batch's files are called."""

from __future__ import annotations

from dataclasses import replace

import pytest

from MedFusionLib.slicer_app.panel.case_names import Naming, caseName
from MedFusionLib.volumes.pairing import Pair
from MedFusionLib.volumes.series_facts import SeriesFacts

WHO = {"patient_id": "A/1 7", "patient_name": "DOE^JANE=X", "patient_birth_date": "19500102"}
REFERENCE = SeriesFacts("1.2", "T1", "MR", identity=WHO, study_date="20240305")
OTHER = SeriesFacts("1.3", "FDG", "PET", identity=WHO, study_date="20240305")
PAIR = Pair(REFERENCE, OTHER)


def test_by_default_a_name_names_nobody():
    name = caseName(PAIR, "average", Naming.NUMBER)
    for told in ("DOE", "JANE", "A", "1950", "2024"):
        assert told not in name.removesuffix("average")
    assert name == caseName(PAIR, "average", Naming.NUMBER)


def test_names_differ_by_series_and_by_method():
    names = {
        caseName(pair, method, Naming.NUMBER)
        for pair in (PAIR, Pair(replace(REFERENCE, key="1.4"), OTHER))
        for method in ("average", "asfe")
    }
    assert len(names) == 4


@pytest.mark.parametrize(
    ("naming", "start"),
    [(Naming.PATIENT_ID, "A-1-7_20240305_"), (Naming.PATIENT_NAME, "DOE-JANE_A-1-7_20240305_")],
)
def test_a_wanted_name_is_a_file_name(naming, start):
    assert caseName(PAIR, "average", naming).startswith(start)
