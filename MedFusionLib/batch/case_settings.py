"""Settings of ``fuse`` that a table of cases may hold for each case, in columns of their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from MedFusionLib.batch.cases import SETTING_COLUMNS, Case
from MedFusionLib.batch.checks import refuse_bad_settings
from MedFusionLib.errors import MedFusionError


def refuse_bad_case_settings(
    cases: Sequence[Case], table: Path, settings: Mapping[str, Any]
) -> None:
    """Raise a ``MedFusionError``, naming row and column, for what a case could not be fused with.

    ``cases`` are all rows of the table in their order, ``settings`` those of the whole batch, with
    which a case can be fused. Those of a case are added one after the other, in the order of
    ``SETTING_COLUMNS``, so that the one that does not fit is found; the same are tried once.
    """
    fitting: list[dict[str, str]] = [{}]
    for row, case in enumerate(cases, start=1):
        tried: dict[str, str] = {}
        for name in (one for one in SETTING_COLUMNS if one in case.settings):
            tried = {**tried, name: case.settings[name]}
            if tried in fitting:
                continue
            try:
                refuse_bad_settings({**settings, **tried})
            except MedFusionError as error:
                place = f"Row {row} of the table '{table}', column {name}"
                raise type(error)(f"{place}: {error}") from error
            fitting.append(tried)
