"""A line along the slices as SVG text. Matplotlib is not among what Slicer has."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT, MARGIN = 300, 110, 38


def line_plot(title: str, values: Sequence[float | None]) -> str:
    """SVG of one value per slice over the slice number; a gap where a value is None."""
    known = [value for value in values if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    lines = "".join(
        f'<polyline fill="none" stroke="#1f5fa8" stroke-width="1.5" points="{run}"/>'
        for run in _runs(values, low, high)
    )
    bottom, right = HEIGHT - 16, WIDTH - 4
    return (
        f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{escape(title)}">'
        f'<text x="4" y="11" font-weight="bold">{escape(title)}</text>'
        f'<path d="M{MARGIN} 16V{bottom}H{right}" fill="none" stroke="#888"/>'
        f'<text x="{MARGIN - 3}" y="24" text-anchor="end">{_label(high)}</text>'
        f'<text x="{MARGIN - 3}" y="{bottom}" text-anchor="end">{_label(low)}</text>'
        f'<text x="{MARGIN}" y="{HEIGHT - 3}">slice 0</text>'
        f'<text x="{right}" y="{HEIGHT - 3}" text-anchor="end">{len(values) - 1}</text>'
        f"{lines}</svg>"
    )


def _label(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _runs(values: Sequence[float | None], low: float, high: float) -> list[str]:
    """Points of each unbroken run of values, as SVG writes them."""
    step = (WIDTH - 4 - MARGIN) / max(len(values) - 1, 1)
    runs: list[list[str]] = [[]]
    for index, value in enumerate(values):
        if value is None:
            runs.append([])
            continue
        share = (value - low) / (high - low) if high > low else 0.5
        runs[-1].append(f"{MARGIN + index * step:.1f},{HEIGHT - 18 - share * (HEIGHT - 38):.1f}")
    return [" ".join(run) for run in runs if run]
