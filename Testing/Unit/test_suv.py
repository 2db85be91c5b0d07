"""SUV factors against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from dicom_phantom import head, worst, write_series
from pydicom.dataset import Dataset

from MedFusionLib.errors import InputError
from MedFusionLib.slices.intensity import choose_window
from MedFusionLib.volumes.files import read_volume
from MedFusionLib.volumes.suv import suv_factor, suv_scale
from MedFusionLib.volumes.volume import Volume

ONE = 1 / 1250
"""SUV per Bq/ml of ``header()``: 100 MBq are left of the dose, in 80,000 g."""


def header(tracer=None, **changes):
    """80 kg, 400 MBq of a tracer with a half-life of one hour, scanned two hours later.

    ``changes`` set keywords of the image, ``tracer`` those of the radiopharmaceutical; None takes
    a keyword away.
    """
    item = Dataset()
    item.RadionuclideTotalDose = 400e6
    item.RadionuclideHalfLife = 3600
    item.RadiopharmaceuticalStartTime = "093000"
    pet = Dataset()
    pet.Units, pet.DecayCorrection, pet.PatientWeight = "BQML", "START", 80
    pet.SeriesTime = "113000.00"
    pet.RadiopharmaceuticalInformationSequence = [item]
    for dataset, values in ((item, tracer or {}), (pet, changes)):
        for name, value in values.items():
            if value is None:
                delattr(dataset, name)
            else:
                setattr(dataset, name, value)
    return pet


def private(pet, group, creator, values, block=0x10):
    """Private decimal strings (or texts) in a block that their creator reserved."""
    pet.add_new((group, block), "LO", creator)
    for element, (kind, value) in values.items():
        pet.add_new((group, block << 8 | element), kind, value)
    return pet


def philips(pet, block=0x10, **values):
    names = {"suv": 0x00, "concentration": 0x09}
    elements = {names[name]: ("DS", value) for name, value in values.items()}
    return private(pet, 0x7053, "Philips PET Private Group", elements, block)


def reason(*headers):
    factor, words = suv_scale(headers)
    assert factor is None
    return words


def test_after_two_half_lives_a_quarter_of_the_dose_is_left():
    # 100 MBq in 80,000 g: 1,250 Bq/ml is an SUV of one.
    assert suv_factor(header()) == pytest.approx(ONE)


def test_an_image_corrected_to_the_injection_counts_the_whole_dose():
    assert suv_factor(header(DecayCorrection="ADMIN")) == pytest.approx(1 / 5000)
    no_times = header(
        {"RadiopharmaceuticalStartTime": None}, DecayCorrection="ADMIN", SeriesTime=None
    )
    assert suv_factor(no_times) == pytest.approx(1 / 5000)


@pytest.mark.parametrize("correction", ["NONE", ""])
def test_an_image_that_is_not_corrected_for_decay_has_no_factor(correction):
    assert "decay correction" in reason(header(DecayCorrection=correction))


def test_an_image_without_attenuation_correction_has_no_factor():
    assert suv_factor(header(CorrectedImage=["DECY", "ATTN", "SCAT"])) == pytest.approx(ONE)
    assert "attenuation and decay" in reason(header(CorrectedImage=["DECY", "SCAT"]))
    assert "attenuation and decay" in reason(header(CorrectedImage="ATTN"))


def test_what_is_in_suv_already_stays():
    assert suv_factor(header(Units="GML", DecayCorrection=None)) == 1.0
    assert "LBM" in reason(header(Units="GML", SUVType="LBM"))


@pytest.mark.parametrize("units", ["CNTS", "PROPCPS", "NONE", "CPS", "", None])
def test_other_units_have_no_factor_and_say_so(units):
    assert "its values are" in reason(header(Units=units))


def test_philips_counts_have_their_scale_in_a_private_field():
    counts = philips(header(Units="CNTS"), suv="0.000375", concentration="2.5")
    assert suv_factor(counts) == pytest.approx(0.000375)
    # Without it, or with 0 in it, counts are brought to Bq/ml first.
    assert suv_factor(philips(header(Units="CNTS"), concentration="2.5")) == pytest.approx(
        2.5 * ONE
    )
    zero = philips(header(Units="CNTS"), suv="0", concentration="2.5")
    assert suv_factor(zero) == pytest.approx(2.5 * ONE)


def test_philips_private_fields_are_found_in_any_block_and_under_their_creator_only():
    assert suv_factor(philips(header(Units="CNTS"), 0x11, suv="0.5")) == pytest.approx(0.5)
    foreign = private(header(Units="CNTS"), 0x7053, "SOMEBODY ELSE", {0x00: ("DS", "0.5")})
    assert "Philips" in reason(foreign)


def test_a_series_time_after_the_first_acquisition_is_that_of_later_work():
    # Renamed three hours after the scan, which began two half-lives after the injection.
    late = header(SeriesTime="143000", AcquisitionTime="113000")
    assert suv_factor(late) == pytest.approx(ONE)
    # Of several bed positions the first one counts.
    beds = [header(SeriesTime="143000", AcquisitionTime=time) for time in ("114500", "113000")]
    assert suv_scale(beds)[0] == pytest.approx(ONE)


def test_ges_private_scan_time_comes_before_the_acquisitions():
    late = header(SeriesTime="143000", SeriesDate="20200101", AcquisitionTime="120000")
    private(late, 0x0009, "GEMS_PETD_01", {0x0D: ("DT", "20200101113000.00")})
    assert suv_factor(late) == pytest.approx(ONE)


def test_the_frame_reference_time_leads_back_to_the_start_of_the_decay_correction():
    # A frame of 20 minutes that began an hour after the start at 11:30; the average count rate lies
    # a little before its middle.
    decay = math.log(2) / 3600
    average = math.log(decay * 1200 / (1 - math.exp(-decay * 1200))) / decay
    assert 560 < average < 600
    late = header(
        SeriesTime="180000",
        AcquisitionTime="123000",
        ActualFrameDuration=1_200_000,
        FrameReferenceTime=str(round(1000 * (3600 + average), 3)),
    )
    assert suv_factor(late) == pytest.approx(ONE, rel=1e-6)


def test_a_scan_after_midnight_is_later_and_not_earlier():
    late = header({"RadiopharmaceuticalStartTime": "233000"}, SeriesTime="003000")
    assert suv_factor(late) == pytest.approx(1 / 2500)


def test_a_series_before_and_an_acquisition_after_midnight_are_in_order():
    night = header(
        {"RadiopharmaceuticalStartTime": "215000"}, SeriesTime="235000", AcquisitionTime="000500"
    )
    assert suv_factor(night) == pytest.approx(ONE)
    dated = header(
        {"RadiopharmaceuticalStartTime": "215000"},
        SeriesDate="20191231",
        SeriesTime="235000",
        AcquisitionDate="20200101",
        AcquisitionTime="000500",
    )
    assert suv_factor(dated) == pytest.approx(ONE)


def test_a_date_of_injection_counts_before_its_bare_time():
    dated = {
        "RadiopharmaceuticalStartDateTime": "20200101093000.000000+0100",
        "RadiopharmaceuticalStartTime": "110000",
    }
    assert suv_factor(header(dated, SeriesDate="20200101")) == pytest.approx(ONE)


@pytest.mark.parametrize(
    "tracer",
    [
        {"RadiopharmaceuticalStartTime": "114500"},
        {"RadiopharmaceuticalStartDateTime": "20200101120000"},
        {"RadiopharmaceuticalStartDateTime": "20191225093000"},
    ],
    ids=["a quarter of an hour", "with a date", "a week before"],
)
def test_an_injection_after_the_scan_or_long_before_it_has_no_factor(tracer):
    words = reason(header(tracer, SeriesDate="20200101"))
    assert "after the scan" in words or "cannot be right" in words


def test_a_long_lived_tracer_needs_the_day_of_its_injection():
    zirconium = {"RadionuclideHalfLife": 78.41 * 3600}
    assert "day of injection" in reason(header(zirconium, SeriesDate="20200105"))
    dated = zirconium | {"RadiopharmaceuticalStartDateTime": "20200101113000"}
    expected = 80_000 / (400e6 * 2 ** -(96 / 78.41))
    assert suv_factor(header(dated, SeriesDate="20200105")) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("tracer", "changes", "words"),
    [
        ({}, {"PatientWeight": None}, "weight"),
        ({}, {"PatientWeight": 0}, "weight"),
        ({}, {"PatientWeight": 80_000}, "weight"),
        ({"RadionuclideTotalDose": 400}, {}, "too small"),
        ({"RadionuclideTotalDose": None}, {}, "dose"),
        ({"RadionuclideHalfLife": 0}, {}, "half-life"),
        ({"RadiopharmaceuticalStartTime": ""}, {}, "time of injection"),
        ({}, {"SeriesTime": None}, "SeriesTime"),
        ({}, {"SeriesTime": "noon"}, "cannot be read"),
        ({}, {"RadiopharmaceuticalInformationSequence": None}, "radiopharmaceutical"),
    ],
)
def test_a_header_that_does_not_tell_gives_the_reason(tracer, changes, words):
    assert words in reason(header(tracer, **changes))


@pytest.mark.parametrize("change", [{"PatientWeight": 70}, {"Units": "CNTS"}])
def test_slices_that_contradict_each_other_have_no_factor(change):
    assert "slices differ" in reason(header(), header(**change))


def test_two_doses_in_one_series_have_no_factor():
    assert "slices differ" in reason(header(), header({"RadionuclideTotalDose": 300e6}))


def pet_series(folder, **changes):
    """A series whose values are 20 times the head's, in Bq/ml, on its scanner's scale of 0.9."""

    def edit(image, index):
        image.update(header(**changes))

    return write_series(
        folder,
        modality="PT",
        formula=lambda points: 20 * head(points),
        slope=lambda index: 0.9,
        dtype="u2",
        edit=edit,
    )


def test_the_suv_window_of_a_series_ends_at_an_suv_of_ten(tmp_path):
    volume = read_volume(pet_series(tmp_path, SeriesTime="143000", AcquisitionTime="113000"))
    assert worst(volume, lambda points: 20 * head(points)) < 0.46
    window = choose_window(volume, "suv")
    assert (window.low, window.high) == (0.0, pytest.approx(12_500))


def test_private_fields_are_read_from_files_too(tmp_path):
    def edit(image, index):
        image.update(philips(header(Units="CNTS"), 0x12, suv="0.25"))

    volume = read_volume(write_series(tmp_path, modality="PT", dtype="u2", edit=edit))
    assert choose_window(volume, "suv").high == pytest.approx(40)


def test_the_suv_window_of_a_series_without_a_factor_is_refused_with_the_reason(tmp_path):
    volume = read_volume(pet_series(tmp_path, PatientWeight=None))
    with pytest.raises(InputError, match=r"weight is missing.*low:high"):
        choose_window(volume, "suv")


def test_the_suv_window_of_a_file_that_knows_no_suv_is_refused():
    voxels = np.linspace(0, 20000, 512, dtype=np.float32).reshape(8, 8, 8)
    with pytest.raises(InputError, match="become SUV"):
        choose_window(Volume(voxels, (1, 1, 1), (0, 0, 0), modality="PET"), "suv")
    known = Volume(voxels, (1, 1, 1), (0, 0, 0), modality="PET", metadata={"suv_factor": "0.0008"})
    assert choose_window(known, "suv").high == pytest.approx(12500)
