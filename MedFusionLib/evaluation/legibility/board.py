"""The board of what methods show: tables by set, their JSON, and files of every lesion."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from MedFusionLib.computing.device import Device
from MedFusionLib.evaluation.leaderboard import Table
from MedFusionLib.evaluation.legibility import lesions as made
from MedFusionLib.evaluation.legibility.cells import KIND, cells, figures
from MedFusionLib.evaluation.legibility.judge import (
    Judged,
    judge_method,
    judge_published,
    slices_of,
)
from MedFusionLib.evaluation.legibility.showing import Blend, Shower, ShownMethod
from MedFusionLib.evaluation.pairs import Pair, Published
from MedFusionLib.evaluation.scoring import Progress, read_sources
from MedFusionLib.methods import create_method
from MedFusionLib.outputs import write_text
from MedFusionLib.version import __version__

DIGITS = 6
"""Behind the point in the JSON: there are hundreds of cells."""
NO_LESIONS = pd.DataFrame(columns=["method", "patient", *KIND, "transfer"])

NO_PICTURES = pd.DataFrame(columns=["set", "pair_id", "patient", "method"])


@dataclass(frozen=True)
class LegibilityTable:
    """What methods show of the same pairs of one set: `cells.figures` and `cells.cells`.

    Where published images stand in it, there are no cells: lesions cannot be put into them.
    """

    set_name: str
    title: str
    pairs: int
    patients: int
    rows: pd.DataFrame
    cells: pd.DataFrame
    published: tuple[str, ...] = ()


@dataclass(frozen=True)
class LegibilityBoard:
    """All tables, and what they were made from."""

    tables: list[LegibilityTable]
    lesions: pd.DataFrame
    pictures: pd.DataFrame
    weights: dict[str, str | None]
    """SHA-256 of each method's weights, None for one without."""


def judge_pairs(
    pairs: Sequence[Pair],
    published: Sequence[Published],
    methods: Sequence[str],
    device: Device,
    precision: str,
    progress: Progress,
) -> LegibilityBoard:
    """Judge methods and the 50 % blend on all pairs, and published images on theirs.

    Each pair is fused about 17 times, and as often again in colours where it is shown in some.
    Raises: InputError for a file that is no image of the pair's size.
    """
    slices = {pair.key: slices_of(read_sources(pair)) for pair in pairs}
    published = [result for result in published if result.key in slices]
    weights: dict[str, str | None] = {}
    judged: list[Judged] = []
    for shower in _showers(methods, device, precision, weights):
        judged += judge_method(shower, list(slices.values()), progress)
    lesions = pd.DataFrame([row for one in judged for row in one.lesions])
    pictures = pd.DataFrame([one.picture for one in judged])
    found = list(judge_published(published, slices))
    peers = pd.DataFrame(found) if found else NO_PICTURES
    return make_board(lesions, pictures, weights, peers)


def make_board(
    lesions: pd.DataFrame,
    pictures: pd.DataFrame,
    weights: dict[str, str | None],
    peers: pd.DataFrame = NO_PICTURES,
) -> LegibilityBoard:
    """The tables of lesions and pictures of methods, and of pictures that others published."""
    tables = list(_tables(lesions, pictures, peers))
    return LegibilityBoard(tables, lesions, pd.concat([pictures, peers]), weights)


def _showers(
    methods: Sequence[str], device: Device, precision: str, weights: dict[str, str | None]
) -> Iterator[Shower]:
    yield Blend()
    for name in methods:
        method = create_method(name, device.device)
        weights[name] = getattr(method, "weights_sha256", None)
        yield ShownMethod(method, device.device, precision)


def _tables(
    lesions: pd.DataFrame, pictures: pd.DataFrame, peers: pd.DataFrame
) -> Iterator[LegibilityTable]:
    """For each set one table of our methods, and one of each published method beside ours."""
    for set_name, own in pictures.groupby("set", sort=False):
        of_set = lesions[lesions["set"] == set_name] if len(lesions) else NO_LESIONS
        yield _table(str(set_name), str(set_name), own, of_set)
        theirs = peers[peers["set"] == set_name]
        for method in theirs["method"].unique():
            of_method = theirs[theirs["method"] == method]
            beside = pd.concat([of_method, own[own["pair_id"].isin(of_method["pair_id"])]])
            title = f"{set_name}, published images of {method}"
            yield _table(str(set_name), title, beside, NO_LESIONS, (method,))


def _table(
    set_name: str,
    title: str,
    pictures: pd.DataFrame,
    lesions: pd.DataFrame,
    published: tuple[str, ...] = (),
) -> LegibilityTable:
    cell_rows = cells(lesions)
    return LegibilityTable(
        set_name,
        title,
        pictures["pair_id"].nunique(),
        pictures["patient"].nunique(),
        figures(cell_rows, pictures),
        cell_rows,
        published,
    )


def with_ranks(tables: Sequence[Table], board: LegibilityBoard) -> list[Table]:
    """The tables of scores with the column `legibility_rank`, nan for what was not judged."""
    ranks = {table.title: table.rows["mean_rank"] for table in board.tables}
    return [
        replace(
            table,
            rows=table.rows.assign(
                legibility_rank=ranks.get(table.title, pd.Series(dtype=float)).reindex(
                    table.rows.index
                )
            ),
        )
        for table in tables
    ]


def board_as_json(board: LegibilityBoard, described: dict[str, Any]) -> dict[str, Any]:
    """Plain JSON values; what is not finite becomes null. `described` says what was compared."""
    return {
        "version": __version__,
        **described,
        "weights_sha256": board.weights,
        "seed": made.SEED,
        "lesions": len(board.lesions),
        "tables": [
            {
                "set": table.set_name,
                "title": table.title,
                "pairs": table.pairs,
                "patients": table.patients,
                "published": list(table.published),
                "rows": _records(table.rows.reset_index()),
                "cells": _records(table.cells),
            }
            for table in board.tables
        ],
    }


def write_board(board: LegibilityBoard, folder: Path, described: dict[str, Any]) -> None:
    """Write legibility.json, lesions.csv and pictures.csv into a folder that is there."""
    text = json.dumps(board_as_json(board, described), allow_nan=False) + "\n"
    write_text(folder / "legibility.json", text)
    for name, rows in (("lesions", board.lesions), ("pictures", board.pictures)):
        write_text(folder / f"{name}.csv", rows.to_csv(index=False, lineterminator="\n"))


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {str(name): _plain(value) for name, value in row.items()} for row in rows.to_dict("records")
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return value
    return round(float(value), DIGITS) if math.isfinite(value) else None
