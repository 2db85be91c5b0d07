"""Leader board tables on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from MedFusionLib.evaluation.leaderboard import Table
from MedFusionLib.evaluation.legibility.board import LegibilityTable
from MedFusionLib.evaluation.legibility.cells import FIGURES


def print_figures(tables: Sequence[LegibilityTable]) -> None:
    """Print what a reader sees: the worst cells' figures and all else of each method."""
    from rich.console import Console
    from rich.table import Table as RichTable

    console = Console()
    for table in tables:
        console.print(f"\n[bold]{table.title}, what a reader sees: {table.pairs} pictures[/bold]")
        shown = RichTable("", *map(str, table.rows.index))
        for name in ("mean_rank", *FIGURES):
            values = table.rows[name].astype(float)
            if values.notna().any():
                shown.add_row(name, *(f"{value:.3g}" for value in values))
        console.print(shown)


def print_tables(tables: Sequence[Table]) -> None:
    """Print each table with its caption: a line per metric, so that a narrow terminal will do."""
    from rich.console import Console
    from rich.table import Table as RichTable

    console = Console()
    for table in tables:
        console.print(f"\n[bold]{table.caption}[/bold]")
        shown = RichTable("", *map(str, table.rows.index))
        for name in table.columns:
            shown.add_row(name, *(f"{value:.4g}" for value in table.rows[name]))
        console.print(shown)
