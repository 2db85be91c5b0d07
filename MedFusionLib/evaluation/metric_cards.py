"""What a reader must know of each fusion metric. Plain words: needs no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MetricCard:
    """What a reader must know of a metric before comparing two of its values.

    `higher_is_better` tells the direction, `value_range` the possible values. `raised_by` names the
    cheap way to a good value: "copying" one source, adding "noise" or contrast, or "" for neither.
    """

    name: str
    higher_is_better: bool
    value_range: str
    raised_by: str
    title: str


METRIC_CARDS: dict[str, MetricCard] = {
    card.name: card
    for card in (
        MetricCard("EN", True, "0..8 bit", "noise", "entropy of the fused slice"),
        MetricCard("SD", True, "0..127.5 grey values", "noise", "standard deviation"),
        MetricCard("SF", True, "0..361 grey values", "noise", "spatial frequency"),
        MetricCard("AG", True, "0..255 grey values", "noise", "average gradient"),
        MetricCard("MI", True, "0..11.1 nats", "copying", "mutual information, sum over sources"),
        MetricCard("SCD", True, "-2..2", "", "sum of the correlations of differences"),
        MetricCard("VIF", True, "0..about 2", "copying", "visual information fidelity, sum"),
        MetricCard("Qabf", True, "0..1", "copying", "edge preservation of Xydeas and Petrovic"),
        MetricCard("SSIM", True, "-2..2", "copying", "structural similarity, sum over sources"),
        MetricCard("PSNR", True, "dB, any to inf", "", "peak signal-to-noise ratio"),
        MetricCard("CC", True, "-1..1", "", "mean correlation with the sources"),
        MetricCard("MSE", False, "0..65025", "", "mean squared error, mean over sources"),
    )
}
