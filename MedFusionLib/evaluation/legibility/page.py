"""The tables of legibility as text: for docs/RESULTS.md, the HTML page and the terminal.

All take the plain values of `legibility.json`, so that a page can be made from the file alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from MedFusionLib.evaluation.legibility.cells import FIGURES, cell_name
from MedFusionLib.evaluation.legibility.lesions import SATURATED_GROUND
from MedFusionLib.evaluation.speed.page import markdown

NOTES = (
    "Lesions are put into one source, and the fused pictures with and without them compared. "
    "A transfer of 1 shows the lesion with its full contrast; below 0.2 it is lost, below -0.05 "
    "inverted. In colour it is the difference at the lesion's centre (CIEDE2000) over the same in "
    "the source's own picture; missed is the share of differences below 5, of the lesions that "
    "differ by 5 or more in their own source.",
    "Each figure of lesions is that of the worst cell (source × sign × amplitude × size, at least "
    "10 lesions) on open ground, where both contrasts can be had. Uptake is read back from hue and "
    "colourfulness; its figures are those of the worst third of the range. docs/LEGIBILITY.md has "
    "the definitions.",
    "blend is the mean of the two pictures as each is shown alone: what a viewer's 50 % overlay "
    "does. The mean rank is over the figures of the table that a method has.",
)
TITLES = {
    "grey_median": "median",
    "grey_p10": "p10",
    "grey_lost": "lost",
    "grey_inverted": "inverted",
    "colour_median": "colour median",
    "colour_p10": "colour p10",
    "colour_missed": "colour missed",
}
SHARES = (
    "grey_lost",
    "grey_inverted",
    "colour_missed",
    "bone_kept",
    "edges_kept",
    "hidden_of_reference",
    "hidden_of_other",
)
WORST_SHOWN = 8
"""Cells of a method in the text."""


@dataclass(frozen=True)
class Shown:
    """A table as text."""

    title: str
    caption: str
    headings: list[str]
    rows: list[list[str]]


def figure_tables(board: Mapping[str, Any]) -> Iterator[Shown]:
    """One table for each set and for each set of published images."""
    for table in board["tables"]:
        names = [name for name in FIGURES if any(row[name] is not None for row in table["rows"])]
        headings = ["method", "mean rank", *map(heading, names)]
        rows = [
            [_method(row, table), _number(row["mean_rank"])]
            + [_figure(name, row[name]) for name in names]
            for row in table["rows"]
        ]
        if table["cells"]:
            headings.append("worst cell")
            rows = [
                [*cells, row["worst_cell"]] for cells, row in zip(rows, table["rows"], strict=True)
            ]
        count = sum(cell["count"] for cell in table["cells"])
        patients = table["patients"]
        caption = f"{table['pairs']} pairs of {patients} patient{'s' * (patients != 1)}"
        caption += f", {count} lesions in all pictures." if count else "; no lesions."
        yield Shown(table["title"], caption, headings, rows)


def cell_tables(board: Mapping[str, Any]) -> Iterator[Shown]:
    """The worst cells of each method, saturated ground with them, and what a median is worth."""
    for table in board["tables"]:
        for method in [row["method"] for row in table["rows"]]:
            cells = [cell for cell in table["cells"] if cell["method"] == method][:WORST_SHOWN]
            if cells:
                headings = ["lesion", "count", "median", "p10", "lost", "inverted", "missed"]
                rows = [_cell(cell) for cell in cells]
                yield Shown(f"{table['set']}, {method}", "The worst cells.", headings, rows)


def heading(name: str) -> str:
    """A figure's name with the better direction."""
    return f"{TITLES.get(name, name.replace('_', ' '))} {FIGURES[name]}"


def results_section(board: Mapping[str, Any]) -> str:
    """The section of docs/RESULTS.md as Markdown."""
    intro = [
        "## What a reader sees",
        f"\nMedFusion {board['version']}, {board['device']}, {board['precision']}, split "
        f"{board['split']}, {board['sample']}, seed {board['seed']}.\n",
        *(f"{note}\n" for note in NOTES),
    ]
    tables = [
        f"### {shown.title}, what a reader sees\n\n{shown.caption}\n\n"
        f"{markdown(shown.headings, shown.rows)}"
        for shown in figure_tables(board)
    ]
    worst = [
        f"**{shown.title}**\n\n{markdown(shown.headings, shown.rows)}"
        for shown in cell_tables(board)
    ]
    folded = "<details><summary>The worst cells of each method</summary>\n"
    return "\n".join([*intro, *tables, folded, *worst, "</details>\n"])


def _cell(cell: Mapping[str, Any]) -> list[str]:
    ground = ", saturated ground" if cell["ground"] == SATURATED_GROUND else ""
    return [
        cell_name(cell) + ground,
        str(cell["count"]),
        *(f"{_number(cell[name])}{_interval(cell, name)}" for name in ("median", "p10")),
        *(_share(cell[name]) for name in ("lost", "inverted", "missed")),
    ]


def _interval(cell: Mapping[str, Any], name: str) -> str:
    low, high = cell[f"{name}_low"], cell[f"{name}_high"]
    return "" if low is None else f" [{_number(low)}, {_number(high)}]"


def _method(row: Mapping[str, Any], table: Mapping[str, Any]) -> str:
    name = row["method"]
    return f"{name} (published images)" if name in table["published"] else name


def _figure(name: str, value: float | None) -> str:
    return _share(value) if name in SHARES else _number(value)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.3g} %"
