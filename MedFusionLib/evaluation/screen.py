"""Leader board tables on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from MedFusionLib.evaluation.leaderboard import Table


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
