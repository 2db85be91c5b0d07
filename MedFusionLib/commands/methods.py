"""``medfusion methods``: what can be chosen with --method."""

from __future__ import annotations

from dataclasses import asdict

import typer

from MedFusionLib.commands.common import print_json
from MedFusionLib.methods import DEFAULT_METHOD, METHODS, MethodCard


def methods_command(
    as_json: bool = typer.Option(False, "--json", help="Print JSON instead of a table."),
) -> None:
    """List the fusion methods."""
    if as_json:
        print_json({"methods": [asdict(card) for card in METHODS.values()]})
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "kind", "what it does", show_lines=True)
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    for card in METHODS.values():
        table.add_row(card.name, card.kind, _described(card))
    Console().print(table)
    Console().print(
        f"Default: {DEFAULT_METHOD}, over CT, PET and SPECT together the first by what a reader "
        "sees (lesions, bone, uptake), and then by the scores of fused images."
    )


def _described(card: MethodCard) -> str:
    """The summary, and below it the size and the paper of a method that has them."""
    size = f"{card.parameters:,} parameters" if card.parameters else ""
    paper = card.paper if card.paper != "-" else ""
    below = "; ".join(text for text in (size, paper) if text)
    return f"{card.summary}\n[dim]{below}[/dim]" if below else card.summary
