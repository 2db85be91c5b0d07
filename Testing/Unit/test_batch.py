"""Tables of cases."""

from __future__ import annotations

import pytest

from MedFusionLib.batch.cases import read_cases
from MedFusionLib.errors import InputError


def table(folder, text):
    place = folder / "cases.csv"
    place.write_text(text, encoding="utf-8")
    return place


def test_paths_are_relative_to_the_table(tmp_path):
    (case,) = read_cases(table(tmp_path, "case,reference,other\none,mr.nrrd,sub/ct.nrrd\n"))
    assert case.reference == tmp_path / "mr.nrrd"
    assert case.other == tmp_path / "sub" / "ct.nrrd"
    assert case.transform is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("case,reference\n1,a\n", "lacks the column other"),
        ("case,reference,other\n", "no case"),
        ("case,reference,other\n1,a,b\n1,c,d\n", "twice"),
        ("case,reference,other\n../1,a,b\n", "cannot name a file"),
    ],
)
def test_a_table_that_cannot_be_run_is_refused(tmp_path, text, words):
    with pytest.raises(InputError, match=words):
        read_cases(table(tmp_path, text))
