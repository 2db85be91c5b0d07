"""SUV factors against values worked out by hand."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from MedFusionLib.slices.intensity import choose_window
from MedFusionLib.volumes.suv import suv_factor
from MedFusionLib.volumes.volume import Volume


def header(**changes):
    """80 kg, 400 MBq of a tracer with a half-life of one hour, scanned two hours later."""
    tracer = Dataset()
    tracer.RadionuclideTotalDose = 400e6
    tracer.RadionuclideHalfLife = 3600
    tracer.RadiopharmaceuticalStartTime = "093000"
    pet = Dataset()
    pet.Units, pet.DecayCorrection, pet.PatientWeight = "BQML", "START", 80
    pet.SeriesTime = "113000.00"
    pet.RadiopharmaceuticalInformationSequence = [tracer]
    for name, value in changes.items():
        setattr(pet, name, value)
    return pet


def test_after_two_half_lives_a_quarter_of_the_dose_is_left():
    # 100 MBq in 80,000 g: 1,250 Bq/ml is an SUV of one.
    assert suv_factor(header()) == pytest.approx(1 / 1250)


def test_an_image_corrected_to_the_injection_counts_the_whole_dose():
    assert suv_factor(header(DecayCorrection="ADMIN")) == pytest.approx(1 / 5000)


def test_a_scan_after_midnight_is_later_and_not_earlier():
    late = header(SeriesTime="003000")
    late.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartTime = "233000"
    assert suv_factor(late) == pytest.approx(1 / 2500)


def test_what_is_in_suv_already_stays():
    assert suv_factor(header(Units="GML")) == 1.0


@pytest.mark.parametrize("changes", [{"Units": "CNTS"}, {"PatientWeight": None}])
def test_a_header_that_does_not_tell_gives_no_factor(changes):
    assert suv_factor(header(**changes)) is None


def test_the_suv_window_ends_at_ten():
    import numpy as np

    voxels = np.linspace(0, 20000, 512, dtype=np.float32).reshape(8, 8, 8)
    pet = Volume(voxels, (1, 1, 1), (0, 0, 0), modality="PET", metadata={"suv_factor": "0.0008"})
    assert choose_window(pet, "suv").high == pytest.approx(12500)
