"""Tables of what methods show: a cell per kind of lesion, the worst first, and a row per method."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from MedFusionLib.evaluation.leaderboard import patient_draws
from MedFusionLib.evaluation.legibility.lesions import OPEN_GROUND
from MedFusionLib.evaluation.legibility.transfer import INVERTED, LOST
from MedFusionLib.evaluation.legibility.uptake import THIRDS

KIND = ("shown", "source", "amplitude", "size", "ground")
"""What makes a cell, within a set and a method."""
INTERVALS = ("median_low", "median_high", "p10_low", "p10_high")
CELL_FIGURES = ("count", "patients", "median", "p10", "lost", "inverted", "missed", *INTERVALS)
FEWEST_LESIONS = 10
"""A cell of fewer is shown, and never counted as the worst."""
FIGURES: dict[str, str] = {
    "grey_median": "↑",
    "grey_p10": "↑",
    "grey_lost": "↓",
    "grey_inverted": "↓",
    "colour_median": "↑",
    "colour_p10": "↑",
    "colour_missed": "↓",
    "bone_error": "↓",
    "bone_kept": "↑",
    "bone_solidity": "↑",
    "thin_contrast": "↑",
    "uptake_correlation": "↑",
    "uptake_error": "↓",
    "edges_kept": "↑",
    "hidden_of_reference": "↓",
    "hidden_of_other": "↓",
}
"""Of a method in a set, with the better direction. Those of lesions are of the worst cell on open
ground; those of uptake of the worst third of its range."""
MEANS = (
    "bone_error",
    "bone_kept",
    "bone_solidity",
    "thin_contrast",
    "edges_kept",
    "hidden_of_reference",
    "hidden_of_other",
)
"""Figures that are means over the pictures. What is hidden is measured of whole volumes only."""
FULL = ("bone_solidity", "thin_contrast")
"""Figures that are as good as they can be from 1 on."""


def cells(lesions: pd.DataFrame) -> pd.DataFrame:
    """One row for each method and kind of lesion of one set, the worst first within a method.

    Columns: method, those of `KIND`, count, patients, median, p10, lost, inverted, `missed`
    (of those that can be seen in the source's own colours) and the ends of the 95 % intervals of
    median and p10 (nan for one patient).
    """
    # Where the range left nothing of a lesion, there is nothing to show.
    inserted = lesions.dropna(subset=["transfer"])
    rows = [
        {**dict(zip(("method", *KIND), names, strict=True)), **cell(of_cell)}
        for names, of_cell in inserted.groupby(["method", *KIND], sort=False)
    ]
    # The worst first: what fails in the tenth part of the cases, before what is typical.
    columns = ["method", *KIND, *CELL_FIGURES]
    order = ["method", "p10", "median"]
    return pd.DataFrame(rows, columns=columns).sort_values(order, kind="stable", ignore_index=True)


def cell(lesions: pd.DataFrame) -> dict[str, float]:
    """The figures of lesions of one kind in one method's pictures."""
    share = lesions["transfer"].to_numpy()
    figures = {
        "count": len(share),
        "patients": lesions["patient"].nunique(),
        "median": float(np.median(share)),
        "p10": float(np.percentile(share, 10)),
        "lost": float((share < LOST).mean()),
        "inverted": float((share < INVERTED).mean()),
        "missed": float(lesions["missed"].mean()) if "missed" in lesions else math.nan,
    }
    return figures | _intervals(share, lesions["patient"].to_numpy())


def _intervals(share: np.ndarray, patients: np.ndarray) -> dict[str, float]:
    """95 % percentile intervals of the median and the tenth percentile, resampled by patient.

    As the leader board does: whole patients are drawn. The few different draws of few patients are
    computed once each.
    """
    _, of_lesion = np.unique(patients, return_inverse=True)
    count = int(of_lesion.max()) + 1
    if count < 2:
        return dict.fromkeys(INTERVALS, math.nan)
    draws, times = np.unique(patient_draws(count), axis=0, return_counts=True)
    order = np.argsort(share, kind="stable")
    values, of_lesion = share[order], of_lesion[order]
    found = np.array([_weighted_percentiles(values, draw[of_lesion]) for draw in draws])
    ends = np.percentile(np.repeat(found, times, axis=0), (2.5, 97.5), axis=0)
    return dict(zip(INTERVALS, map(float, ends.T.ravel()), strict=True))


def _weighted_percentiles(values: np.ndarray, times: np.ndarray) -> tuple[float, float]:
    """Median and tenth percentile of sorted values that occur so many times each."""
    drawn = np.repeat(values, times)
    return float(np.median(drawn)), float(np.percentile(drawn, 10))


def figures(cell_rows: pd.DataFrame, pictures: pd.DataFrame) -> pd.DataFrame:
    """One row per method of one set, with `FIGURES`, the mean rank and the name of the worst cell.

    ``pictures`` has the measures of bone, uptake and edges of each pair. Best mean rank first.
    """
    rows = pd.DataFrame.from_dict(
        {
            method: _of_method(cell_rows[cell_rows["method"] == method], of_method)
            for method, of_method in pictures.groupby("method", sort=False)
        },
        orient="index",
    ).rename_axis("method")
    rows.insert(0, "mean_rank", mean_ranks(rows))
    return rows.sort_values("mean_rank", kind="stable")


def _of_method(cell_rows: pd.DataFrame, pictures: pd.DataFrame) -> dict[str, Any]:
    judged = cell_rows[
        (cell_rows["ground"] == OPEN_GROUND) & (cell_rows["count"] >= FEWEST_LESIONS)
    ]
    return {
        **_worst(judged),
        **{name: _mean(pictures, name) for name in MEANS},
        "uptake_correlation": _extreme(pictures, "uptake_correlation", min),
        "uptake_error": _extreme(pictures, "uptake_error", max),
        "worst_cell": _name_of_worst(judged),
        "pairs": len(pictures),
        "lesions": int(cell_rows["count"].sum()),
    }


def _worst(cell_rows: pd.DataFrame) -> dict[str, float]:
    """Each figure of lesions in its own worst cell."""
    worst: dict[str, float] = {}
    for shown, names in (
        ("grey", ("median", "p10", "lost", "inverted")),
        ("colour", ("median", "p10", "missed")),
    ):
        here = cell_rows[cell_rows["shown"] == shown]
        for name in names:
            column = here[name]
            worst[f"{shown}_{name}"] = column.min() if name in ("median", "p10") else column.max()
    return worst


def _name_of_worst(cell_rows: pd.DataFrame) -> str:
    if cell_rows.empty:
        return ""
    worst = cell_rows.sort_values("p10", kind="stable")
    return cell_name(worst.to_dict("records")[0])


def cell_name(row: Mapping[Any, Any]) -> str:
    """A kind of lesion in words, like "small bright PET lesion (+0.25) in grey"."""
    light = "bright" if row["amplitude"] > 0 else "dark"
    return (
        f"{row['size']} {light} {row['source']} lesion ({row['amplitude']:+.2f}) in {row['shown']}"
    )


def _mean(pictures: pd.DataFrame, name: str) -> float:
    return float(pictures[name].mean()) if name in pictures else math.nan


def _extreme(pictures: pd.DataFrame, name: str, worst: Any) -> float:
    """The worst of the means in the thirds of the range; nan where there is none."""
    means = [_mean(pictures, f"{name}_{third}") for third in THIRDS]
    known = [mean for mean in means if not math.isnan(mean)]
    return worst(known) if known else math.nan


def mean_ranks(rows: pd.DataFrame) -> pd.Series:
    """Mean over the figures of each method's rank (1 is best); ties share the mean of their ranks.

    A figure that no method has is left out; a method without a figure that others have is not
    ranked by it.
    """
    ranks = {}
    for name, better in FIGURES.items():
        column = rows[name].clip(upper=1) if name in FULL else rows[name]
        if column.notna().any():
            ranks[name] = column.rank(ascending=better == "↓")
    return pd.DataFrame(ranks).mean(axis=1)
