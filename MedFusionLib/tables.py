"""Tables that users write, as CSV: read whole, or refused with the line that is wrong."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from MedFusionLib.errors import InputError


def read_rows(table: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV in UTF-8, blank space around their cells left out.

    Raises ``InputError`` for a table that is missing, in another encoding, lacks one of the
    ``columns``, or has a row of another length or with an empty cell in one of them.
    """
    reader = csv.DictReader(io.StringIO(_text(table), newline=""))
    try:
        rows = list(reader)
    except csv.Error as error:
        raise InputError(f"'{table}' is no CSV table ({error}). Save it again as CSV.") from error
    missing = [column for column in columns if column not in (reader.fieldnames or ())]
    if missing:
        plural = "s" if len(missing) > 1 else ""
        raise InputError(f"The table '{table}' lacks the column{plural} {', '.join(missing)}.")
    for number, row in enumerate(rows, start=1):
        _refuse_bad_row(row, columns, f"Row {number} of the table '{table}'")
    return [{name: cell.strip() for name, cell in row.items()} for row in rows]


def _text(table: Path) -> str:
    if not table.is_file():
        raise InputError(f"There is no table '{table}', so it cannot be read. Check the path.")
    content = table.read_bytes()
    try:
        if b"\0" in content:
            raise UnicodeDecodeError("utf-8", content, 0, 2, "UTF-16 holds zero bytes")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"'{table}' is not in UTF-8, so names in it could be misread. Save it as CSV in UTF-8 "
            "(in Excel: 'CSV UTF-8')."
        ) from error


def _refuse_bad_row(row: dict[str, str], columns: Sequence[str], name: str) -> None:
    if None in row or None in row.values():
        raise InputError(f"{name} has not as many cells as there are columns. Mend it.")
    empty = [column for column in columns if not row[column].strip()]
    if empty:
        raise InputError(f"{name} has nothing under {', '.join(empty)}. Fill it in.")
