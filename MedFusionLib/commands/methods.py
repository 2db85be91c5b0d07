"""``medfusion methods``: what can be chosen with --method."""

from __future__ import annotations

from dataclasses import asdict

import typer

from MedFusionLib.commands.common import print_json
from MedFusionLib.methods import DEFAULT_METHOD, METHODS


def methods_command(
    as_json: bool = typer.Option(False, "--json", help="Print JSON instead of a table."),
) -> None:
    """List the fusion methods."""
    if as_json:
        print_json({"methods": [asdict(card) for card in METHODS.values()]})
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "kind", "what it does", "made for", "parameters", "licence", "paper")
    for card in METHODS.values():
        made_for = ", ".join(card.modalities)
        count = f"{card.parameters:,}"
        table.add_row(card.name, card.kind, card.summary, made_for, count, card.licence, card.paper)
    Console().print(table)
    Console().print(
        f"Default: {DEFAULT_METHOD}, the method that shows most of a lesion where it shows least, "
        "and then the one with the best scores."
    )
