"""The panel's rules, one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from MedFusionLib.errors import InputError
from MedFusionLib.fusion import fuse
from MedFusionLib.methods import DEFAULT_METHOD, METHODS, PREVIEW_METHOD
from MedFusionLib.registration.overlap import DIFFERENT_FRAMES, NO_OVERLAP, OTHER_GRID, SAME_GRID
from MedFusionLib.slicer_app.choices import (
    AlignmentChoice,
    Colour,
    Modality,
    Plane,
    Window,
)
from MedFusionLib.slicer_app.panel import texts as panel_texts
from MedFusionLib.slicer_app.panel.facts import FurtherInput, Inputs, JobState, Options
from MedFusionLib.slicer_app.panel.methods import firstMethods
from MedFusionLib.slicer_app.panel.state import REGISTERING, panelState
from MedFusionLib.slicer_app.panel.statements import Shown, Weight, resultStatements
from MedFusionLib.slicer_app.panel.texts import (
    deviceToolTip,
    distanceText,
    doneText,
    methodText,
    previewText,
    progressText,
)
from MedFusionLib.slicer_app.scene.volume_facts import VolumeFacts
from MedFusionLib.volumes.volume import Volume

MR = VolumeFacts("T1", "MR")
PET = VolumeFacts("FDG", "PET")
READY = Inputs(MR, PET, overlapKind=SAME_GRID, overlapFraction=1.0)
IDLE = JobState()
RUNNING = JobState(running=True)
ONE_PLANE = {"plane": "axial", "planes": "one", "grid": "reference"}


def state(inputs=READY, job=IDLE, **options):
    return panelState(inputs, Options(**options), job)


def test_two_volumes_on_one_grid_can_be_fused():
    shown = state()
    assert shown.applyEnabled
    assert shown.applyText == "&Apply"
    assert shown.relationText == "Same grid."
    assert shown.warnings == ()


@pytest.mark.parametrize(
    ("inputs", "word"),
    [
        (Inputs(), "reference volume"),
        (Inputs(MR), "other volume"),
        (replace(READY, sameVolume=True), "two different"),
        (replace(READY, reference=replace(MR, isColour=True)), "color"),
        (replace(READY, overlapKind=NO_OVERLAP, overlapFraction=0.0), "do not overlap"),
        (replace(READY, overlapKind=DIFFERENT_FRAMES), "frames of reference"),
        (replace(READY, outputIsInput=True), "one of the inputs"),
        (replace(READY, outputIsColour=False), "result is in color"),
    ],
)
def test_what_is_missing_disables_apply_and_is_in_its_tooltip(inputs, word):
    shown = state(inputs)
    assert not shown.applyEnabled
    assert not shown.previewEnabled
    assert word in shown.applyToolTip
    assert word in shown.previewToolTip


def test_landmarks_that_cannot_be_used_disable_apply_whatever_the_alignment():
    inputs = replace(READY, landmarkRefusal="Each needs its partner.")
    for alignment in AlignmentChoice:
        shown = state(inputs, alignment=alignment, hasTransform=True)
        assert shown.applyToolTip == "Each needs its partner."


@pytest.mark.parametrize("alignment", REGISTERING)
def test_no_registration_is_offered_over_a_transform_that_bends_space(alignment):
    bent = replace(READY, isBent=True, overlapKind=OTHER_GRID)
    assert "non-linear transform" in state(bent, alignment=alignment).applyToolTip
    assert state(bent).applyEnabled, "as it lies, it is resampled"


def test_the_deformable_alignment_tells_how_its_package_is_installed():
    deformable = {"alignment": AlignmentChoice.DEFORMABLE}
    assert state(**deformable).applyEnabled
    missing = state(**deformable, bendingInstalled=False)
    assert not missing.applyEnabled
    assert "pip_install('convexAdam" in missing.applyToolTip
    assert state(alignment=AlignmentChoice.RIGID, bendingInstalled=False).applyEnabled


def test_the_answer_of_the_quick_look_stands_beside_the_position():
    shown = state(looked="The volumes lie on each other, as far as a quick look can tell.")
    assert shown.relationText.startswith("Same grid. The volumes lie on each other")
    assert state().relationText == "Same grid."


def test_landmarks_are_told_after_the_alignment_and_far_ones_are_a_warning():
    points = [{"label": "nasion", "distance_mm": 1.0}, {"label": "ear", "distance_mm": 4.0}]
    for mean, weight in ((2.5, Weight.NOTE), (7.5, Weight.WARNING)):
        told = {"mean_mm": mean, "largest_mm": 4.0, "points": points}
        shown = Shown("F", {"method": "average", "landmarks": told}, "T1", "PET")
        statement = resultStatements(shown)[2]
        assert f"2 pairs lie {mean} mm from each other on average" in statement.text
        assert "4.0 mm at most ('ear')" in statement.text
        assert statement.weight is weight


def test_the_short_list_of_methods_begins_with_the_default_and_the_live_one():
    first = firstMethods()
    assert first[:2] == [DEFAULT_METHOD, PREVIEW_METHOD]
    assert set(first) == {name for name, card in METHODS.items() if card.first_list}


def test_a_grey_result_does_not_fit_a_color_output():
    shown = state(replace(READY, outputIsColour=True), colour=Colour.GREY)
    assert "result is grayscale" in shown.applyToolTip
    assert state(replace(READY, outputIsColour=True)).applyEnabled


def test_volumes_on_other_grids_need_more_than_no_alignment():
    inputs = replace(READY, overlapKind=OTHER_GRID, overlapFraction=0.9)
    assert "different grids" in state(inputs, alignment=AlignmentChoice.NONE).applyToolTip
    assert state(inputs).applyEnabled
    assert "90 %" in state(inputs).relationText


@pytest.mark.parametrize("alignment", [AlignmentChoice.RIGID, AlignmentChoice.AFFINE])
@pytest.mark.parametrize("kind", [NO_OVERLAP, DIFFERENT_FRAMES])
def test_a_registration_may_start_from_anywhere_but_has_no_preview(alignment, kind):
    shown = state(replace(READY, overlapKind=kind, overlapFraction=0.0), alignment=alignment)
    assert shown.applyEnabled
    assert not shown.previewEnabled
    assert "Register first" in shown.previewToolTip


def test_a_transform_has_to_be_chosen_and_reconciles_frames_of_reference():
    inputs = replace(READY, overlapKind=DIFFERENT_FRAMES)
    transform = AlignmentChoice.TRANSFORM
    assert "Choose the transform" in state(inputs, alignment=transform).applyToolTip
    assert state(inputs, alignment=transform, hasTransform=True).applyEnabled


def test_different_frames_of_reference_can_be_forced_with_a_warning():
    shown = state(replace(READY, overlapKind=DIFFERENT_FRAMES), force=True)
    assert shown.applyEnabled
    assert any("frames of reference" in warning for warning in shown.warnings)


def test_nothing_forces_volumes_without_overlap():
    assert not state(replace(READY, overlapKind=NO_OVERLAP), force=True).applyEnabled


def test_little_overlap_warns():
    inputs = replace(READY, overlapKind=OTHER_GRID, overlapFraction=0.1)
    assert any("10 %" in warning for warning in state(inputs).warnings)


def test_while_running_apply_is_cancel_and_nothing_else_can_be_changed():
    shown = state(job=RUNNING)
    assert (shown.applyText, shown.applyEnabled) == ("&Cancel", True)
    assert not shown.inputsEnabled
    assert not shown.previewEnabled


def test_a_run_can_be_cancelled_even_when_its_inputs_are_gone():
    assert state(Inputs(), job=RUNNING).applyEnabled


def test_a_second_cancel_is_offered_as_cancel_now():
    cancelling = replace(RUNNING, cancelling=True)
    shown = state(job=cancelling)
    assert (shown.applyText, shown.applyEnabled) == ("&Cancel now", True)
    assert progressText(cancelling) == "Cancelling..."


def test_without_torch_apply_says_that_it_installs_it_and_preview_waits():
    shown = state(torchInstalled=False)
    assert shown.applyEnabled
    assert "PyTorch" in shown.applyToolTip
    assert not shown.previewEnabled


def test_a_gpu_that_torch_cannot_use_is_told():
    assert state(deviceWarning="This computer has a GPU.").warnings == ("This computer has a GPU.",)


def test_a_method_says_when_it_was_not_made_for_the_modality():
    name = next((n for n, card in METHODS.items() if "SPECT" not in card.modalities), None)
    if name is None:
        pytest.skip("every method of this version is made for all modalities")
    shown = state(replace(READY, other=replace(PET, modality="SPECT")), method=name)
    assert any("SPECT" in warning for warning in shown.warnings)


def test_a_guess_is_shown_as_a_guess_and_an_unknown_asks():
    guess = replace(MR, modalitySource="guess", modalityReason="guessed from 't1' in the name")
    assert "guessed" in state(replace(READY, reference=guess)).referenceText
    unknown = replace(guess, modality="unknown")
    assert "choose" in state(replace(READY, other=unknown)).otherText
    assert state(READY).otherText == "", "what the user has chosen is not repeated"


def test_every_method_is_told_in_a_sentence_with_its_modalities():
    for name, card in METHODS.items():
        assert card.summary in methodText(name)
        assert all(modality in methodText(name) for modality in card.modalities)


def test_the_words_for_translators_are_those_of_the_methods_cards():
    for name, summary in panel_texts._summaries().items():
        assert summary == METHODS[name].summary


def test_progress_tells_slices_rate_and_time_left():
    job = JobState(True, False, done=30, total=90, message="Fusing slices", seconds=10.0)
    assert progressText(job) == "30 of 90 slices, 3.0 slices/s, 20 s left"
    assert progressText(replace(job, doneAtStart=20)) == "30 of 90 slices, 1.0 slices/s, 60 s left"
    assert "10 min left" in progressText(replace(job, seconds=300.0))


def test_other_steps_are_told_by_their_name():
    job = JobState(True, False, done=1, total=4, message="Registering")
    assert progressText(job) == "Registering: 25 %"
    assert progressText(JobState(running=True)) == "Starting..."


def test_the_end_of_a_run_tells_fusing_and_measuring_apart():
    report = {"seconds": {"total": 2.84}, "device_title": "CPU"}
    assert doneText(report) == "Done in 2.8 s on CPU."
    measured = {**report, "seconds": {"total": 2.84, "measure": 9.5}}
    assert doneText(measured) == "Done in 2.8 s on CPU. Measuring took 9.5 s."


def test_the_tips_distance_says_inside_or_outside():
    assert "Inside, 3.2 mm" in distanceText(3.21)
    assert "3.2 mm outside" in distanceText(-3.21)
    assert "no volume" in distanceText(None)


def test_a_preview_says_how_it_differs_from_what_apply_would_do():
    same = previewText("axial", 0.042, "asfe", "asfe", ONE_PLANE, "Red")
    assert same == "Axial slice in the view Red, fused in 42 ms by asfe."
    assert "asfe is too slow" in previewText("axial", 0.042, "live", "asfe", ONE_PLANE, "Red")
    assert "chosen under Options" in previewText("coronal", 0.042, "asfe", "asfe", ONE_PLANE, "Red")


def test_a_preview_tells_that_it_shows_neither_the_mean_of_planes_nor_a_finer_grid():
    def told(plane="axial", **chosen):
        return previewText(plane, 0.042, "asfe", "asfe", {**ONE_PLANE, **chosen}, "Red")

    assert "mean of all three planes" in told(planes="three")
    assert "mean of all three planes" in told("coronal", planes="three")
    assert "chosen under Options" not in told("coronal", planes="three")
    assert "slice of the measured one" in told(grid="finest")
    assert "Apply" not in told()


def test_the_version_of_torch_is_told_once_it_is_known():
    assert deviceToolTip("2.13.0+cpu").endswith("PyTorch 2.13.0+cpu")
    assert "PyTorch" not in deviceToolTip(None)


@pytest.mark.parametrize("choices", [Modality, Window, AlignmentChoice, Plane, Colour])
def test_every_choice_has_its_own_words(choices):
    labels = [choices.label(choice) for choice in choices]
    assert all(labels)
    assert len(set(labels)) == len(labels)


SPECT = VolumeFacts("DAT", "SPECT")
THIRD = FurtherInput(SPECT, overlapKind=SAME_GRID, overlapFraction=1.0)
CT_FIRST = replace(READY, other=VolumeFacts("CT head", "CT"))


@pytest.mark.parametrize(
    ("third", "words"),
    [
        (FurtherInput(), "Third volume: Choose the volume"),
        (replace(THIRD, isChosenTwice=True), "Third volume: The volume 'DAT' is chosen twice"),
        (replace(THIRD, facts=VolumeFacts("A", refusal="'A' is no image.")), "'A' is no image."),
        (replace(THIRD, overlapKind=NO_OVERLAP), "Third volume: The volumes do not overlap"),
        (replace(THIRD, overlapKind=DIFFERENT_FRAMES), "frames of reference"),
        (
            replace(THIRD, alignment=AlignmentChoice.TRANSFORM),
            "Third volume: Choose the transform that takes it",
        ),
        (
            replace(THIRD, alignment=AlignmentChoice.RIGID, isBent=True),
            "Third volume: A non-linear transform",
        ),
        (replace(THIRD, overlapKind=OTHER_GRID, alignment=AlignmentChoice.NONE), "different grids"),
    ],
)
def test_what_a_further_volume_lacks_disables_apply_by_its_place(third, words):
    shown = state(replace(CT_FIRST, further=(third,)))
    assert not shown.applyEnabled
    assert words in shown.applyToolTip
    second = state(replace(CT_FIRST, further=(THIRD, replace(third, colour=Colour.GREY))))
    assert words.replace("Third", "Fourth") in second.applyToolTip


def test_more_volumes_than_the_method_takes_disable_apply_as_fuse_refuses_them():
    four = replace(CT_FIRST, further=(THIRD, replace(THIRD, facts=VolumeFacts("T1", "MR"))))
    shown = panelState(four, Options(method="tfs-diff"), JobState())
    with pytest.raises(InputError) as refused:
        fuse([Volume(np.ones((1, 2, 2)), (1.0,) * 3, (0.0,) * 3)] * 4, method="tfs-diff")
    assert (shown.applyEnabled, shown.applyToolTip) == (False, str(refused.value))
    three = replace(four, further=(THIRD,))
    assert panelState(three, Options(method="tfs-diff"), JobState()).applyEnabled
    assert state(four).applyEnabled


def test_a_further_volume_that_fits_is_fused_and_told():
    shown = state(replace(CT_FIRST, further=(THIRD,)))
    assert shown.applyToolTip == "Fuse the 3 volumes"
    assert shown.furtherTexts == ("Same grid.",)
    assert state(CT_FIRST).applyToolTip == "Fuse the two volumes"


def test_two_functional_volumes_keep_their_colours_apart_and_three_are_refused():
    assert state(replace(READY, further=(THIRD,))).applyEnabled
    assert "told apart" in state(replace(READY, further=(THIRD, THIRD))).applyToolTip
    hot = state(replace(READY, further=(THIRD,)), colour=Colour.HOT)
    assert "told apart" in hot.applyToolTip
    swapped = replace(READY, further=(replace(THIRD, colour=Colour.RED),))
    assert state(swapped, colour=Colour.BLUE).applyEnabled


def test_the_result_is_in_colour_if_one_of_its_volumes_is():
    grey = replace(CT_FIRST, outputIsColour=False)
    assert state(grey).applyEnabled
    assert "result is in color" in state(replace(grey, further=(THIRD,))).applyToolTip
    inGrey = replace(THIRD, colour=Colour.GREY)
    assert state(replace(grey, further=(inGrey,))).applyEnabled


def test_warnings_on_a_further_volume_name_it():
    third = replace(THIRD, overlapFraction=0.1, overlapKind=OTHER_GRID, apart="They lie apart.")
    warned = state(replace(CT_FIRST, further=(third,)), method=DEFAULT_METHOD).warnings
    assert "Third volume: Only 10 % of the smaller volume overlaps." in warned
    assert "Third volume: They lie apart." in warned
    registered = replace(third, alignment=AlignmentChoice.RIGID)
    assert not state(replace(CT_FIRST, further=(registered,))).warnings


def test_another_patient_in_any_place_is_asked_about_with_all_identities():
    jane, richard = {"patient_id": "A1"}, {"patient_id": "B2"}
    inputs = replace(
        CT_FIRST,
        reference=replace(MR, identity=jane),
        further=(replace(THIRD, facts=replace(SPECT, identity=richard)),),
    )
    question = state(inputs).question
    assert "Reference: ID A1; Other volume: not told; Third volume: ID B2" in question
    same = replace(inputs, further=(replace(THIRD, facts=replace(SPECT, identity=jane)),))
    assert state(same).question is None


def test_a_result_of_three_tells_how_each_was_laid_and_does_not_repeat_a_verdict():
    quality = {"verdict": "doubtful", "reason": "half a head is seen."}
    report = {
        "method": "average",
        "warnings": [
            "Third volume: The alignment is doubtful: half a head is seen.",
            "Second volume: Only 10 % of the smaller volume overlaps.",
        ],
        "transform": {"kind": "given"},
        "further": [{"registration": {"quality": quality}}],
    }
    shown = Shown("Fused", report, "T1", "CT", "Tr", further=("DAT",), furtherTransforms=(None,))
    told = [one.text for one in resultStatements(shown)]
    assert "'Fused': T1 with CT and DAT, fused by average." in told[0]
    assert told[1].startswith("Other volume: Aligned by the transform 'Tr'")
    assert told[2].startswith("Third volume: The registration is doubtful")
    assert sum("half a head" in text.lower() for text in told) == 1
    assert "Second volume: Only 10 % of the smaller volume overlaps." in told
    deleted = resultStatements(replace(shown, further=(None,)))
    assert "was deleted since" in deleted[0].text
