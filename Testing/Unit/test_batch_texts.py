"""What is said of a case of a batch."""

from __future__ import annotations

import pytest

from MedFusionLib.batch.cases import DONE, FAILED, SKIPPED, Outcome
from MedFusionLib.registration.quick_check import ALIGNED, UNKNOWN
from MedFusionLib.slicer_app.panel.batch_texts import resultStatement
from MedFusionLib.slicer_app.panel.statements import Weight


def outcome(status, output="/out/1_average.nrrd", error=""):
    return Outcome("1_average", status, 2.0, output, error)


def registered(verdict):
    return {"registration": {"quality": {"verdict": verdict, "reason": "half a head is seen."}}}


def looked(verdict):
    return {"quick_check": {"verdict": verdict, "sentence": "What was seen."}}


@pytest.mark.parametrize(
    ("report", "weight", "words"),
    [
        (registered("pass"), Weight.GOOD, "The registration passed"),
        (registered("doubtful"), Weight.WARNING, "look twice. Half a head"),
        (looked(ALIGNED), Weight.NOTE, "What was seen."),
        (looked(UNKNOWN), Weight.WARNING, "What was seen."),
        ({"quick_check": None}, Weight.WARNING, "No head was found"),
    ],
)
def test_a_fused_case_is_as_good_as_its_alignment(report, weight, words):
    told = resultStatement(outcome(DONE), report)
    assert told.weight is weight
    assert "Done in 2 s: '1_average.nrrd'" in told.text
    assert words in told.text


def test_what_was_not_fused_says_why():
    kept = resultStatement(outcome(SKIPPED), None)
    assert (kept.weight, kept.text) == (Weight.NOTE, "Kept: '1_average.nrrd' is there already.")
    refused = resultStatement(outcome(FAILED, "", "Slices are missing."), None)
    assert (refused.weight, refused.text) == (Weight.BAD, "Refused: Slices are missing.")
