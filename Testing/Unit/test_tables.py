"""Tables that users write."""

from __future__ import annotations

import pytest

from MedFusionLib.errors import InputError
from MedFusionLib.tables import read_rows

TEXT = "case,reference,note\nMüller, mr.nrrd ,\n\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_utf_8_is_read_with_and_without_a_mark(tmp_path, encoding):
    (tmp_path / "t.csv").write_bytes(TEXT.encode(encoding))
    rows = read_rows(tmp_path / "t.csv", ("case", "reference"))
    assert rows == [{"case": "Müller", "reference": "mr.nrrd", "note": ""}]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le"])
def test_other_encodings_are_refused_before_a_name_is_misread(tmp_path, encoding):
    (tmp_path / "t.csv").write_bytes(TEXT.encode(encoding))
    with pytest.raises(InputError, match=r"UTF-8|lacks the columns"):
        read_rows(tmp_path / "t.csv", ("case", "reference"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("case,reference\none,\n", "Row 1 .* has nothing under reference"),
        ("case,reference\none, \n", "Row 1 .* has nothing under reference"),
        ("case,reference\none,a\ntwo\n", "Row 2 .* not as many cells"),
        ("case,reference\none,a,b\n", "Row 1 .* not as many cells"),
        ("case\none\n", "lacks the column reference"),
        ("", "lacks the columns case, reference"),
        ("case,reference\none,a\0b\n", "UTF-8"),
    ],
)
def test_a_faulty_row_is_named(tmp_path, text, words):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        read_rows(tmp_path / "t.csv", ("case", "reference"))


def test_a_missing_table_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "t.csv", tmp_path):
        with pytest.raises(InputError, match="There is no table"):
            read_rows(path, ("case",))
