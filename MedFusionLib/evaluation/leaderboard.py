"""Tables of the leader board: means, mean ranks and bootstrap intervals from per-pair scores."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from MedFusionLib.evaluation.metric_cards import METRIC_CARDS
from MedFusionLib.evaluation.metrics import DEFINITION_SET
from MedFusionLib.evaluation.scoring import SIDE_MEASURES, Scored

METRIC_NAMES = tuple(METRIC_CARDS)
COLUMNS = (*METRIC_NAMES, *SIDE_MEASURES)
BOOTSTRAP_SAMPLES = 2000
BOOTSTRAP_SEED = 20240601
OWN, PUBLISHED = "ours", "published"
RANKS = ("mean_rank", "legibility_rank")
"""Columns of a table before its metrics; the second is there where legibility was judged."""


@dataclass(frozen=True)
class Table:
    """Mean scores of some methods on the same pairs of one set.

    `rows` is indexed by method and has the metrics, the side measures, `mean_rank`, and for each
    metric `<name>_low` and `<name>_high`, the ends of the 95 % interval.
    """

    set_name: str
    title: str
    split: str
    pair_ids: tuple[str, ...]
    patients: tuple[str, ...]
    rows: pd.DataFrame
    published: tuple[str, ...] = ()
    """Methods whose images others published; the rest were run here."""

    @property
    def columns(self) -> tuple[str, ...]:
        """What is shown of `rows`, in order."""
        return (*(name for name in RANKS if name in self.rows), *COLUMNS)

    @property
    def caption(self) -> str:
        """What every table has to say of itself: its pairs, its split, its definitions."""
        count = len(self.patients)
        return (
            f"{self.title}: {len(self.pair_ids)} pairs of {count} patient{'s' * (count != 1)}, "
            f"split {self.split}, definition set {DEFINITION_SET}"
        )


def score_frame(scored: Iterable[Scored], source: str) -> pd.DataFrame:
    """One row per method and pair: identifiers, source ("ours" or "published"), scores."""
    rows = [
        {
            "set": one.pair.set_name,
            "pair_id": one.pair.pair_id,
            "patient": one.pair.patient,
            "split": one.pair.split,
            "method": one.method,
            "source": source,
            **one.values,
            "seconds": one.seconds,
        }
        for one in scored
    ]
    return pd.DataFrame(rows)


def make_tables(scores: pd.DataFrame, split: str) -> list[Table]:
    """For each set one table of our methods on all pairs, and one per published method with ours
    on exactly the pairs for which its authors published an image."""
    tables = []
    for set_name, of_set in scores.groupby("set", sort=False):
        own = of_set[of_set["source"] == OWN]
        if not own.empty:
            tables.append(make_table(own, str(set_name), str(set_name), split))
        for method, published in of_set[of_set["source"] == PUBLISHED].groupby(
            "method", sort=False
        ):
            beside = own[own["pair_id"].isin(published["pair_id"])]
            title = f"{set_name}, published images of {method}"
            tables.append(make_table(pd.concat([published, beside]), str(set_name), title, split))
    return tables


def make_table(scores: pd.DataFrame, set_name: str, title: str, split: str) -> Table:
    """Means over the pairs, ranks of the means, intervals; best mean rank first."""
    means = scores.groupby("method", sort=False)[list(COLUMNS)].mean()
    means.insert(0, "mean_rank", mean_ranks(means))
    low, high = bootstrap_intervals(scores)
    rows = means.join(low.add_suffix("_low")).join(high.add_suffix("_high"))
    return Table(
        set_name,
        title,
        split,
        tuple(dict.fromkeys(scores["pair_id"])),
        tuple(dict.fromkeys(scores["patient"])),
        rows.sort_values("mean_rank", kind="stable"),
        tuple(scores.loc[scores["source"] == PUBLISHED, "method"].unique()),
    )


def mean_ranks(means: pd.DataFrame) -> pd.Series:
    """Mean over the metrics of each method's rank (1 is best); tied methods share the mean of
    their ranks. A missing mean (nan) ranks last."""
    ranks = pd.DataFrame(
        {
            name: means[name].rank(ascending=not card.higher_is_better, na_option="bottom")
            for name, card in METRIC_CARDS.items()
        }
    )
    return ranks.mean(axis=1)


def bootstrap_intervals(scores: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Ends of the 95 % percentile interval of each method's means, resampled by patient.

    Slices of one patient are alike, so whole patients are drawn with replacement; all methods get
    the same draws. With a single patient there is nothing to resample: both ends are nan.
    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    methods, patients = scores["method"].unique(), scores["patient"].unique()
    if len(patients) < 2:
        empty = pd.DataFrame(math.nan, index=methods, columns=METRIC_NAMES)
        return empty, empty.copy()
    weights = patient_draws(len(patients))
    low, high = {}, {}
    for method, of_method in scores.groupby("method", sort=False):
        grouped = of_method.groupby("patient")[list(METRIC_NAMES)]
        sums = grouped.sum(min_count=0).reindex(patients).fillna(0).to_numpy()
        counts = grouped.count().reindex(patients).fillna(0).to_numpy()
        with np.errstate(invalid="ignore", divide="ignore"):
            means = (weights @ sums) / (weights @ counts)
        low[method], high[method] = np.nanpercentile(means, (2.5, 97.5), axis=0)
    return _by_method(low), _by_method(high)


def patient_draws(patients: int) -> np.ndarray:
    """(samples, patients): how often each patient was drawn."""
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    return generator.multinomial(patients, np.full(patients, 1 / patients), BOOTSTRAP_SAMPLES)


def _by_method(ends: dict[Any, np.ndarray]) -> pd.DataFrame:
    return pd.DataFrame.from_dict(ends, orient="index", columns=list(METRIC_NAMES))


def tables_as_json(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """The tables as plain JSON values; a number that is not finite is written as null."""
    return [
        {
            "set": table.set_name,
            "title": table.title,
            "split": table.split,
            "definition_set": DEFINITION_SET,
            "pairs": len(table.pair_ids),
            "pair_ids": list(table.pair_ids),
            "patients": list(table.patients),
            "rows": [
                {
                    "method": str(method),
                    "published": method in table.published,
                    **{name: _finite(value) for name, value in row.items()},
                }
                for method, row in table.rows.iterrows()
            ],
        }
        for table in tables
    ]


def _finite(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
