"""Which series of a patient are fused: closed cases, with the choices that a reader would make."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from MedFusionLib.volumes.identity import differing_fields
from MedFusionLib.volumes.pairing import Missing, NoPair, Pair, choose_pair, choose_pairs
from MedFusionLib.volumes.series_facts import Patient, SeriesFacts, patients_of

JANE = {"patient_id": "A1", "patient_name": "DOE^JANE", "patient_birth_date": "19500102"}
RICHARD = {"patient_id": "B2", "patient_name": "ROE^RICHARD", "patient_birth_date": "19610708"}
FINE, THICK = (1.0, 1.0, 1.0), (0.5, 0.5, 5.0)


def series(name, modality="MR", **facts):
    known = {
        "identity": JANE,
        "study_uid": "1.1",
        "study_date": "20240305",
        "shape": (160, 256, 256),
        "spacing": FINE,
    }
    return SeriesFacts(key=name, name=name, modality=modality, **(known | facts))


def mr(name="T1 MPRAGE", **facts):
    return series(name, **facts)


def pet(name="FDG PET AC", **facts):
    return series(name, "PET", **({"spacing": (2.0, 2.0, 3.0), "shape": (74, 128, 128)} | facts))


def ct(name="CT head", **facts):
    return series(name, "CT", **facts)


def chosen(*found):
    (patient,), unknown = patients_of(found)
    assert unknown == []
    pair = choose_pair(patient)
    return (pair.reference.name, pair.other.name) if isinstance(pair, Pair) else pair.why


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (mr("T1 MPRAGE Gd"), mr("T1 MPRAGE")),
        (mr("T1 MPRAGE", contrast_agent="Gadovist"), mr("T1 MPRAGE 2")),
        (mr("T1 MPRAGE"), mr("T2 SPACE")),
        (mr("FLAIR SPACE"), mr("T1 TSE +C", spacing=THICK, shape=(24, 512, 512))),
        (mr("any", acquisition="3D"), mr("T1 SE", acquisition="2D")),
        (mr("T1 TSE +C", spacing=THICK), mr("T1 TSE", spacing=THICK)),
        (mr("T1 MPRAGE"), mr("T1 MPRAGE cor", image_type=("DERIVED", "PRIMARY", "MPR"))),
        (mr("T1 MPRAGE"), mr("T1 MPRAGE coarse", spacing=(1.0, 1.0, 1.9))),
        (mr("T1 MPRAGE"), mr("T1 MPRAGE slab", shape=(40, 256, 256))),
    ],
)
def test_the_better_anatomical_volume_is_the_reference_in_whatever_order(better, worse):
    for found in permutations([better, worse, pet()]):
        assert chosen(*found) == (better.name, "FDG PET AC")


@pytest.mark.parametrize(
    "unfit",
    [
        mr("MedFusion asfe: MR + PET", is_fused=True),
        mr("localizer"),
        mr("3-plane loc"),
        mr("any", image_type=("ORIGINAL", "PRIMARY", "LOCALIZER")),
        mr("any", shape=(3, 512, 512)),
        mr("ep2d_diff_ADC"),
        mr("any", image_type=("DERIVED", "PRIMARY", "DIFFUSION", "ADC")),
        mr("rCBV"),
        mr("T1 MPRAGE Gd MIP"),
        mr("TOF 3D"),
        mr("T1 MPRAGE Gd", is_colour=True),
        mr("T1 MPRAGE Gd", refusal="'T1' is a single slice."),
    ],
)
def test_no_fused_volume_overview_or_derived_map_is_ever_the_reference(unfit):
    assert chosen(unfit, pet()) is Missing.REFERENCE
    assert chosen(unfit, mr("T2 TSE", spacing=THICK), pet()) == ("T2 TSE", "FDG PET AC")


@pytest.mark.parametrize(
    "unfit",
    [
        ct("Topogram"),
        ct("any", image_type=("ORIGINAL", "PRIMARY", "LOCALIZER")),
        ct("CT perfusion MTT"),
        pet("FDG MIP"),
        pet("any", series_type=("DYNAMIC", "IMAGE")),
        series("planar", "SPECT", image_type=("ORIGINAL", "PRIMARY", "WHOLE BODY")),
        series("projections", "SPECT", image_type=("ORIGINAL", "PRIMARY", "TOMO")),
        series("dose", "unknown"),
        pet("fused", is_fused=True),
    ],
)
def test_no_overview_projection_or_dynamic_series_is_ever_the_other(unfit):
    assert chosen(mr(), unfit) is Missing.OTHER


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (pet("FDG PET AC"), pet("FDG PET NAC")),
        (pet("one", corrections=("DECY", "ATTN", "SCAT")), pet("two", corrections=("DECY",))),
        (pet("said AC", corrections=("ATTN",)), pet("AC by its name", corrections=("DECY",))),
        (pet("FDG"), pet("FDG uncorrected")),
        (pet("FDG AC fine", spacing=FINE), pet("FDG AC")),
    ],
)
def test_attenuation_corrected_uptake_is_preferred(better, worse):
    for found in permutations([better, worse, mr()]):
        assert chosen(*found) == ("T1 MPRAGE", better.name)


def test_uncorrected_uptake_is_taken_where_there_is_no_other():
    assert chosen(mr(), pet("FDG NAC")) == ("T1 MPRAGE", "FDG NAC")


def test_a_tomographic_spect_is_another_volume():
    spect = series("HMPAO perfusion", "SPECT", image_type=("DERIVED", "PRIMARY", "RECON TOMO"))
    assert chosen(mr(), spect) == ("T1 MPRAGE", "HMPAO perfusion")


def test_the_ct_of_a_pet_ct_is_there_for_the_pet():
    low_dose = ct("CT low dose", frame_of_reference_uid="9", study_uid="1.2")
    uptake = pet(frame_of_reference_uid="9", study_uid="1.2")
    assert chosen(mr(), low_dose, uptake) == ("T1 MPRAGE", "FDG PET AC")
    (patient,), _ = patients_of([mr(), low_dose, uptake])
    assert choose_pair(patient).other_others == (low_dose,)


def test_nothing_is_chosen_where_the_rules_do_not_tell():
    planning = ct("CT planning", frame_of_reference_uid="8", study_uid="1.3")
    uptake = pet(frame_of_reference_uid="9", study_uid="1.2")
    assert chosen(mr(), planning, uptake) is Missing.KIND_OF_OTHER
    assert chosen(mr("T1 MPRAGE"), mr("T1 MPRAGE again"), pet()) is Missing.ONE_REFERENCE
    assert chosen(mr(), ct("CT soft"), ct("CT bone")) is Missing.ONE_OTHER
    assert chosen(mr(), pet("FDG AC", spacing=FINE), pet("FET AC")) is Missing.TRACER
    assert chosen(pet(), ct()) is Missing.REFERENCE
    assert chosen(mr()) is Missing.OTHER


def test_what_else_could_be_chosen_is_told():
    flair, uncorrected = mr("FLAIR"), pet("FDG NAC")
    (patient,), _ = patients_of([flair, mr(), pet(), uncorrected, mr("localizer")])
    pair = choose_pair(patient)
    assert pair.other_references == (flair,)
    assert pair.other_others == (uncorrected,)


def test_only_different_frames_of_reference_ask_for_a_registration():
    for one, two, differ in (("1", "2", True), ("1", "1", False), ("1", "", False)):
        (patient,), _ = patients_of(
            [mr(frame_of_reference_uid=one), pet(frame_of_reference_uid=two)]
        )
        assert choose_pair(patient).frames_differ is differ


def test_a_day_with_both_comes_before_days_apart_and_the_newest_first():
    old = [mr("old MR", study_date="20230101"), pet("old PET", study_date="20230101")]
    new = [mr("new T2", study_date="20240101"), pet("new PET", study_date="20240101")]
    assert chosen(*old, *new) == ("new T2", "new PET")
    assert chosen(*old, new[0]) == ("old MR", "old PET")
    assert chosen(old[0], new[1]) == ("old MR", "new PET")
    (patient,), _ = patients_of([old[0], new[1]])
    assert choose_pair(patient).days_apart == 365
    (patient,), _ = patients_of([*old, *new])
    found = choose_pairs(patient)
    assert [pair.reference.name for pair in found] == ["old MR", "new T2"]


def test_without_dates_nobody_knows_which_study_is_the_newest():
    one = [mr("a", study_date="", study_uid="1"), pet("b", study_date="", study_uid="1")]
    two = [mr("c", study_date="", study_uid="2"), pet("d", study_date="", study_uid="2")]
    assert chosen(*one) == ("a", "b")
    assert chosen(*one, *two) is Missing.DAY


def test_patients_are_told_apart_by_id_name_and_birth_date():
    renamed = JANE | {"patient_name": "Doe, Jane"}
    married = JANE | {"patient_name": "ROE^JANE"}
    found, unknown = patients_of(
        [mr(), mr("two", identity=renamed), mr("three", identity=married), pet(identity=RICHARD)]
    )
    assert [len(patient.series) for patient in found] == [2, 1, 1]
    assert unknown == []


def test_emptied_identities_are_nobody_unless_the_study_or_the_user_tells():
    emptied = {"patient_id": "anonymous", "patient_name": "ANON"}
    one, two = mr(identity=emptied, study_uid=""), pet(identity=emptied, study_uid="")
    assert patients_of([one, two]) == ([], [one, two])
    assert chosen(*(replace(each, study_uid="7") for each in (one, two))) == (one.name, two.name)
    assert chosen(*(replace(each, subject="12") for each in (one, two))) == (one.name, two.name)


def test_there_is_no_patient_and_no_pair_of_two_people():
    with pytest.raises(ValueError, match="one patient"):
        Patient((mr(), pet(identity=RICHARD)))
    with pytest.raises(ValueError, match="one patient"):
        Pair(mr(), pet(identity=RICHARD))
    with pytest.raises(ValueError, match="one patient"):
        Pair(mr(identity={}, study_uid=""), pet(identity={}, study_uid=""))
    he = pet(identity=JANE | {"patient_sex": "M"})
    with pytest.raises(ValueError, match="one patient"):
        Pair(mr(identity=JANE | {"patient_sex": "F"}), he)
    assert chosen(mr(identity=JANE | {"patient_sex": "F"}), he) is Missing.IDENTITY


PEOPLE = st.fixed_dictionaries(
    {
        "patient_id": st.sampled_from(["", "A1", "B2", "anon"]),
        "patient_name": st.sampled_from(["", "DOE^JANE", "ROE^RICHARD", "anonymous"]),
        "patient_birth_date": st.sampled_from(["", "19500102", "19610708"]),
        "patient_sex": st.sampled_from(["", "F", "M"]),
    }
)
ANY_SERIES = st.builds(
    SeriesFacts,
    key=st.uuids().map(str),
    name=st.sampled_from(["T1 MPRAGE", "T2", "FDG AC", "head", "localizer"]),
    modality=st.sampled_from(["MR", "CT", "PET", "SPECT"]),
    identity=PEOPLE,
    study_uid=st.sampled_from(["", "1", "2"]),
    study_date=st.sampled_from(["", "20230101", "20240101"]),
    subject=st.sampled_from(["", "5", "6"]),
    frame_of_reference_uid=st.sampled_from(["", "1", "2"]),
    spacing=st.sampled_from([FINE, THICK]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(ANY_SERIES, max_size=8))
def test_whatever_is_loaded_no_pair_is_of_two_patients(found):
    patients, unknown = patients_of(found)
    assert sum(len(one.series) for one in patients) + len(unknown) == len(found)
    for patient in patients:
        for pair in (choose_pair(patient), *choose_pairs(patient)):
            if isinstance(pair, NoPair):
                continue
            assert pair.reference.person == pair.other.person == patient.person
            assert differing_fields(pair.reference.identity, pair.other.identity) == []
            assert pair.reference.modality == "MR"
            assert pair.other.modality != "MR"
