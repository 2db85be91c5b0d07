"""Writes docs/RESULTS.md from docs/results/*.json; `make results` runs it.

With `--shared FOLDER` the leader board, the benchmark and the study of small misalignments are
measured anew first. `speed_changes.json` is not: it compares with code that is no more.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from MedFusionLib.evaluation.leaderboard import RANKS
from MedFusionLib.evaluation.legibility.page import results_section
from MedFusionLib.evaluation.metric_cards import METRIC_CARDS
from MedFusionLib.evaluation.misalignment import AS_GIVEN, MEASURES, TRUE_PLACE
from MedFusionLib.evaluation.reports.report_html import MARKS, NOTES
from MedFusionLib.evaluation.scoring import SIDE_MEASURES
from MedFusionLib.evaluation.speed.page import (
    changes_section,
    markdown,
    number,
    speed_section,
    weaker_section,
)
from MedFusionLib.outputs import write_text

DOCS = Path(__file__).resolve().parents[2] / "docs"
LEADERBOARD, BENCHMARK = "leaderboard.json", "benchmark.json"
WEAKER, CHANGES = "benchmark_avx2.json", "speed_changes.json"
AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}
"""What makes a newer processor compute as an ordinary laptop's does."""
MISALIGNMENT, LEGIBILITY = "misalignment.json", "legibility.json"
JUDGED = {TRUE_PLACE: "in their true place", AS_GIVEN: "as they were given"}
INTRODUCTION = """# Results

This page is written by `make results` from `docs/results/*.json`; do not edit it.

"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure anew if asked, then write the page."""
    parser = argparse.ArgumentParser(description="Write docs/RESULTS.md.")
    parser.add_argument("--shared", type=Path, help="Measure anew on the data in this folder.")
    parser.add_argument(
        "--sample", type=int, help="Pairs of each set to judge legibility on; without it, all."
    )
    parser.add_argument("--docs", type=Path, default=DOCS, help="Folder of RESULTS.md.")
    wanted = parser.parse_args(arguments)
    results = wanted.docs / "results"
    if wanted.shared is not None:
        results.mkdir(parents=True, exist_ok=True)
        measure_again(wanted.shared, results, wanted.sample)
    board, speed = _read(results / LEADERBOARD), _read(results / BENCHMARK)
    moved, seen = (_read_if_there(results / name) for name in (MISALIGNMENT, LEGIBILITY))
    weaker, changes = (_read_if_there(results / name) for name in (WEAKER, CHANGES))
    page = results_page(board, speed, moved, seen)
    if weaker is not None:
        page += weaker_section(weaker)
    if changes is not None:
        page += changes_section(changes)
    write_text(wanted.docs / "RESULTS.md", page)


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8"))


def _read_if_there(file: Path) -> dict[str, Any] | None:
    return _read(file) if file.is_file() else None


def measure_again(shared: Path, results: Path, sample: int | None = None) -> None:
    """Run `medfusion evaluate` and `misalignment` on the split dev and `benchmark`, all methods.

    `sample`: how many pairs of each set legibility is judged on, or all.
    """
    data = shared / "data"
    command = [sys.executable, "-m", "MedFusionLib.cli"]
    with tempfile.TemporaryDirectory() as folder:
        board = [*command, "evaluate", "--pairs", str(data / "harvard/manifest.csv")]
        board += ["--published", str(data / "peer_results"), "--split", "dev", "-o", folder]
        board += ["--legibility", *([] if sample is None else ["--sample", str(sample)])]
        subprocess.run(board, check=True)
        for name in (LEADERBOARD, LEGIBILITY):
            shutil.copyfile(Path(folder) / name, results / name)
    speed = [*command, "benchmark", "--paper", "--volume", "512x512x300", "--startup", "--cluster"]
    subprocess.run([*speed, "--json", str(results / BENCHMARK)], check=True)
    weaker = [*command, "benchmark", "--paper", "--json", str(results / WEAKER)]
    subprocess.run(weaker, check=True, env={**os.environ, **AVX2})
    study = [*command, "misalignment", "--pairs", str(data / "harvard/manifest.csv")]
    subprocess.run([*study, "--json", str(results / MISALIGNMENT)], check=True)


def results_page(
    board: dict[str, Any],
    speed: dict[str, Any],
    misaligned: dict[str, Any] | None = None,
    seen: dict[str, Any] | None = None,
) -> str:
    """The page as Markdown; without figures of legibility or misalignments, without the section."""
    weights = [
        f"- {method}: weights with SHA-256 `{sha}`"
        for method, sha in board["weights_sha256"].items()
        if sha
    ]
    return "\n".join(
        [
            INTRODUCTION + ("" if seen is None else results_section(seen)),
            "## Leader board",
            f"\nMedFusion {board['version']}, {board['device']}, {board['precision']}.\n",
            *weights,
            "",
            *(f"{note}\n" for note in NOTES),
            *(_table(table) for table in board["tables"]),
            *([] if misaligned is None else [misalignment_section(misaligned)]),
            speed_section(speed),
        ]
    )


def _table(table: dict[str, Any]) -> str:
    count = len(table["patients"])
    caption = (
        f"{table['pairs']} pairs of {count} patient{'s' * (count != 1)}, split {table['split']}, "
        f"definition set {table['definition_set']}."
    )
    ranks = [name for name in RANKS if name in table["rows"][0]]
    names = (*ranks, *METRIC_CARDS, *SIDE_MEASURES)
    headings = ["method", *(name.replace("_", " ") for name in ranks)]
    headings += map(_heading, METRIC_CARDS)
    headings += [f"{name.replace('_', ' ')} {arrow}" for name, arrow in SIDE_MEASURES.items()]
    rows = [[_method(row), *(number(row.get(name)) for name in names)] for row in table["rows"]]
    return f"### {table['title']}\n\n{caption}\n\n{markdown(headings, rows)}\n{_intervals(table)}"


def _intervals(table: dict[str, Any]) -> str:
    """The 95 % intervals, folded away; nothing where a single patient gives none."""
    if all(row["SD_low"] is None for row in table["rows"]):
        return "No interval: there is a single patient.\n"
    rows = [
        [_method(row)]
        + [f"{number(row[f'{name}_low'])} – {number(row[f'{name}_high'])}" for name in METRIC_CARDS]
        for row in table["rows"]
    ]
    return (
        "<details><summary>95 % intervals by patient</summary>\n\n"
        f"{markdown(['method', *METRIC_CARDS], rows)}\n</details>\n"
    )


def _heading(name: str) -> str:
    card = METRIC_CARDS[name]
    return f"{name}{MARKS[card.raised_by]} {'↑' if card.higher_is_better else '↓'}"


def _method(row: dict[str, Any]) -> str:
    return f"*{row['method']} (published images)*" if row["published"] else row["method"]


def misalignment_section(figures: dict[str, Any]) -> str:
    """What errors of a few millimetres do to each method, with what to conclude from it."""
    errors = figures["errors_mm"]
    sets = list(dict.fromkeys(row["set"] for row in figures["rows"]))
    counts = [sum(pair["set"] == name for pair in figures["pairs"]) for name in sets]
    told = " and ".join([", ".join(f"{error:g}" for error in errors[:-1]), f"{errors[-1]:g}"])
    pairs = ", ".join(f"{count} pairs of {name}" for count, name in zip(counts, sets, strict=True))
    return "\n".join(
        [
            "## Small misalignments\n",
            f"{pairs} (split dev), evenly spaced. The other image was moved by {told} mm (a pixel "
            f"taken as {figures['pixel_mm']:g} mm, which the atlas does not tell exactly) in "
            f"{figures['directions_per_pair']} directions at right angles that turn from pair to "
            "pair, and fused; all images are interpolated alike, also at 0 mm. Each cell has the "
            "means at these errors, judged against both sources **in their true place**: that is "
            "what the error costs. EN, SD, SF and AG look at the fused image alone and are left "
            "out.\n",
            _misalignment_conclusion(figures["rows"], errors),
            *(_misaligned_table(figures, name, TRUE_PLACE) for name in sets),
            "<details><summary>The same images judged against the sources as they were given, "
            "misaligned</summary>\n",
            *(_misaligned_table(figures, name, AS_GIVEN) for name in sets),
            "</details>\n",
        ]
    )


def _misalignment_conclusion(rows: Sequence[dict[str, Any]], errors: Sequence[float]) -> str:
    sets = list(dict.fromkeys(row["set"] for row in rows))
    costs = [f"- {name}: {_costs(rows, name, errors)}." for name in sets]
    unseen = [change for name in sets for change in _qabf_changes(rows, name, errors[-1], AS_GIVEN)]
    return "\n".join(
        [
            "**What to conclude.** Change of Qabf, the share of the sources' edges that the fused "
            "image keeps, as mean over the methods (and from the worst to the best of them):\n",
            *costs,
            "",
            "So the sharp edges of CT need an alignment to well under a millimetre, and no method "
            "makes up for a worse one. A blurred PET or SPECT forgives a millimetre or two in its "
            "edges, but not in its colours: a hue that is turned shows another uptake at that "
            "place. **The scores of a fused image do not warn**: judged against the sources as "
            f"given, {errors[-1]:g} mm change Qabf by {min(unseen):+.0%} to {max(unseen):+.0%}. "
            "Look at the verdict and the pictures of the alignment instead "
            "([ALIGNMENT.md](ALIGNMENT.md)).\n",
        ]
    )


def _costs(rows: Sequence[dict[str, Any]], set_name: str, errors: Sequence[float]) -> str:
    told = []
    for error in errors[1:]:
        changes = _qabf_changes(rows, set_name, error, TRUE_PLACE)
        hues = [
            row["hue_error"]
            for row in _rows_at(rows, set_name, error, TRUE_PLACE)
            if row["hue_error"] is not None
        ]
        turned = f", hues turned by {sum(hues) / len(hues):.0f}°" if hues else ""
        mean = sum(changes) / len(changes)
        told.append(
            f"{error:g} mm {mean:+.0%} ({min(changes):+.0%} to {max(changes):+.0%}){turned}"
        )
    return "; ".join(told)


def _qabf_changes(
    rows: Sequence[dict[str, Any]], set_name: str, error: float, against: str
) -> list[float]:
    """Relative change of each method's Qabf from the aligned pair's."""
    before = {row["method"]: row["Qabf"] for row in _rows_at(rows, set_name, 0.0, against)}
    return [
        row["Qabf"] / before[row["method"]] - 1
        for row in _rows_at(rows, set_name, error, against)
        if before.get(row["method"])
    ]


def _rows_at(
    rows: Sequence[dict[str, Any]], set_name: str, error: float, against: str
) -> list[dict[str, Any]]:
    wanted = (set_name, error, against)
    return [row for row in rows if (row["set"], row["error_mm"], row["against"]) == wanted]


def _misaligned_table(figures: dict[str, Any], set_name: str, against: str) -> str:
    cells = {
        (row["method"], row["error_mm"]): row
        for row in figures["rows"]
        if (row["set"], row["against"]) == (set_name, against)
    }
    methods = dict.fromkeys(method for method, _ in cells)
    names = [name for name in MEASURES if any(row[name] is not None for row in cells.values())]
    headings = ["method", *(_misaligned_heading(name) for name in names)]
    rows = [
        [method]
        + [
            " · ".join(_short(cells[method, error][name]) for error in figures["errors_mm"])
            for name in names
        ]
        for method in methods
    ]
    title = f"### {set_name}, moved, judged against the sources {JUDGED[against]}"
    return f"{title}\n\n{markdown(headings, rows)}"


def _misaligned_heading(name: str) -> str:
    return _heading(name) if name in METRIC_CARDS else name.replace("_", " ") + " ↓"


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


if __name__ == "__main__":
    main()
