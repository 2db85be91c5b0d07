"""Pictures of the leader board: box plots and contact sheets as PNG data inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from MedFusionLib.evaluation.grey_images import shrunk
from MedFusionLib.evaluation.leaderboard import METRIC_NAMES
from MedFusionLib.evaluation.metric_cards import METRIC_CARDS
from MedFusionLib.evaluation.scoring import Scored, Sources

if TYPE_CHECKING:
    from matplotlib.figure import Figure

THUMBNAIL_WIDTH = 160
JUDGED_BY = ("MI", "SCD", "VIF", "Qabf", "SSIM", "CC")
"""What orders a method's pairs: metrics that look at the sources and are higher when better."""
PLACES = ("best", "median", "worst")


def box_plots(scores: pd.DataFrame) -> str:
    """One box plot per metric with a box per method, over the pairs in `scores`; a data URI."""
    from matplotlib.figure import Figure

    methods = list(dict.fromkeys(scores["method"]))
    figure = Figure(figsize=(13, 3.2 + 0.9 * len(methods)), layout="constrained")
    for axes, name in zip(figure.subplots(3, 4).flat, METRIC_NAMES, strict=True):
        values = [scores.loc[scores["method"] == method, name].to_numpy() for method in methods]
        finite = [column[np.isfinite(column)] for column in values]
        axes.boxplot(finite, orientation="horizontal", tick_labels=methods, widths=0.7)
        axes.invert_yaxis()
        axes.set_title(f"{name} ({'higher' if METRIC_CARDS[name].higher_is_better else 'lower'})")
    return _figure_uri(figure)


def chosen_pairs(scored: Sequence[Scored]) -> dict[str, Scored]:
    """Best, median and worst pair of one method, by the mean rank over `JUDGED_BY`."""
    values = pd.DataFrame([one.values for one in scored])[list(JUDGED_BY)]
    order = values.rank(ascending=False, na_option="bottom").mean(axis=1).argsort(kind="stable")
    places = (0, len(order) // 2, len(order) - 1)
    return {name: scored[order.iloc[place]] for name, place in zip(PLACES, places, strict=True)}


def contact_sheet(
    scored: Sequence[Scored], sources: dict[tuple[str, str], Sources]
) -> list[dict[str, str]]:
    """Captioned thumbnails of the MR, the other and the fused slice of three pairs."""
    return [
        {
            "place": place,
            "pair_id": one.pair.pair_id,
            "values": ", ".join(f"{name} {one.values[name]:.3f}" for name in JUDGED_BY),
            "reference": image_uri(sources[one.pair.key].reference),
            "other": image_uri(sources[one.pair.key].other),
            "fused": image_uri(one.picture),
        }
        for place, one in chosen_pairs(scored).items()
    ]


def image_uri(image: np.ndarray) -> str:
    """A thumbnail of a uint8 image as a PNG data URI."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(shrunk(image, THUMBNAIL_WIDTH)).save(buffer, "PNG", optimize=True)
    return _uri(buffer.getvalue())


def _figure_uri(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    return _uri(buffer.getvalue())


def _uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
