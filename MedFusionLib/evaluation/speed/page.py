"""The figures of `medfusion benchmark` as tables for people."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

MEBIBYTE = 2**20
TableOfText = tuple[str, str, list[str], list[list[str]]]
"""Heading, note, headings of the columns, rows."""


def speed_section(speed: dict[str, Any]) -> str:
    """The section of docs/RESULTS.md on speed, as Markdown."""
    machine = speed["machine"]
    return (
        f"## Speed\n\nMedFusion {speed['version']}, {machine['processor']}, {machine['cores']} "
        f"cores, torch {machine['torch']}, load of the machine at the end "
        f"{number(machine['load_average'])}. Median of {speed['runs'][0]['repeats']} timings "
        "after a warm-up, quartiles in brackets; memory is what the process took beyond what it "
        "held before the method was made. GFLOP counts products, convolutions and attention (2 per "
        f"multiply-add), no Fourier transforms.\n\n{_speed_table(speed)}{_more_sections(speed)}"
    )


def weaker_section(speed: dict[str, Any]) -> str:
    """The same for a run that was held to AVX2."""
    return (
        "\n## Speed on AVX2\n\nThe same machine, held to the instructions that every laptop of the "
        "last ten years has; load of the machine at the end "
        f"{number(speed['machine']['load_average'])}.\n\n"
        f"{_speed_table(speed)}{_more_sections(speed)}"
    )


def _speed_table(speed: dict[str, Any]) -> str:
    headings = ["method", "size", "batch", "device", "precision", "threads", "slices/s"]
    headings += ["s per 256×256×94 volume", "peak memory, MiB", "GFLOP per slice"]
    headings += ["of the matrix product's speed"]
    return markdown(headings, [_speed_row(run) for run in speed["runs"]])


def _more_sections(speed: dict[str, Any]) -> str:
    return "".join(
        f"\n### {heading}\n\n{note}\n\n{markdown(columns, cells)}"
        for heading, note, columns, cells in more_tables(speed)
    )


def changes_section(changes: dict[str, Any]) -> str:
    """What changes of the code brought: {"note": text, "rows": [...]}.

    Each row has method, capability, threads, and before and after in `cpu_seconds` and `seconds`
    of one slice.
    """
    headings = ["method", "instructions", "threads", "CPU ms before", "after", "ratio"]
    headings += ["ms before", "after", "ratio"]
    rows = [
        [
            row["method"],
            row["capability"],
            str(row["threads"]),
            *_before_and_after(row["cpu_seconds"]),
            *_before_and_after(row["seconds"]),
        ]
        for row in changes["rows"]
    ]
    return f"\n## Speed before and after\n\n{changes['note']}\n\n{markdown(headings, rows)}"


def _before_and_after(seconds: Sequence[float]) -> list[str]:
    before, after = seconds
    return [f"{1000 * before:.1f}", f"{1000 * after:.1f}", f"{after / before:.2f}"]


def _speed_row(run: dict[str, Any]) -> list[str]:
    low, high = run["seconds_per_slice_quartiles"]
    share = run["share_of_matrix_speed"]
    return [
        run["method"],
        f"{run['height']}×{run['width']}",
        str(run["batch"]),
        run["device"],
        run["precision"],
        str(run["threads"]),
        f"{number(run['slices_per_second'])} ({number(1 / high)} – {number(1 / low)})",
        number(run["seconds_per_volume"]),
        number(run["peak_bytes"] and run["peak_bytes"] / 2**20),
        number(run["flop_per_slice"] / 1e9),
        "–" if share is None else f"{share:.1%}",
    ]


def more_tables(figures: dict[str, Any]) -> list[TableOfText]:
    """What was measured beside the table of methods; only what was asked for is there."""
    makers: dict[str, Callable[[Any], TableOfText]] = {
        "paper": _paper,
        "volumes": _volumes,
        "startup": _startup,
        "cluster": _cluster,
    }
    return [make(figures[name]) for name, make in makers.items() if name in figures]


def _paper(rows: list[dict[str, Any]]) -> TableOfText:
    rounds, threads = len(rows[0]["ours"]), rows[0]["ours"][0]["threads"]
    note = (
        f"One {rows[0]['side']}×{rows[0]['side']} slice, random weights, CPU, float32, {threads} "
        f"threads, both forms in turn; medians of {rounds}. The plain form computes the same "
        "numbers as the formulas are read off: ASFE-Fusion's tokens × slots matrices in memory, "
        "all of DM-FNet's UNet for one noisy image after the other. Memory is beyond the "
        "network's. `torch.compile` is not used, and its gain was not measured: it needs a C++ "
        "compiler where it runs, which a computer with Slicer rarely has."
    )
    headings = ["method", "plain, CPU s", "ours, CPU s", "ratio"]
    headings += ["plain, peak MiB", "ours, peak MiB", "ratio"]
    return "Paper presets, before and after", note, headings, [_paper_row(row) for row in rows]


def _paper_row(row: dict[str, Any]) -> list[str]:
    cells = [row["method"]]
    for name, unit in (("cpu_seconds", 1), ("peak_bytes", MEBIBYTE)):
        for form in ("straightforward", "ours"):
            cells.append(_median([one[name] for one in row[form]], unit))
        cells.append(number(row[f"ratio_{name}"]))
    return cells


def _median(values: Sequence[float | None], unit: float = 1) -> str:
    known = [value for value in values if value is not None]
    return number(statistics.median(known) / unit if known else None)


def _volumes(rows: list[dict[str, Any]]) -> TableOfText:
    shape = "×".join(map(str, rows[0]["shape"]))
    note = (
        f"Two int16 volumes of {shape} through `fuse`, {rows[0]['threads']} threads, automatic "
        "batches. A slow method was stopped after some slices and its time scaled to all (≈). "
        "Memory is the process's peak beyond what it held before the volumes were made, with both "
        "sources and the whole result."
    )
    headings = ["method", "device", "slices done", "s per volume", "peak memory, MiB"]
    cells = [
        [
            row["method"],
            row["device"],
            str(row["slices_done"]),
            ("" if row["slices_done"] == row["shape"][2] else "≈ ")
            + number(row["seconds_per_volume"]),
            number(row["peak_bytes"] and row["peak_bytes"] / MEBIBYTE),
        ]
        for row in rows
    ]
    return f"Volumes of {shape}", note, headings, cells


def _startup(rows: list[dict[str, Any]]) -> TableOfText:
    note = (
        f"Medians of {len(rows[0]['seconds'])}. The import within a Python that runs, the command "
        "as a whole process; neither loads what it does not need."
    )
    cells = [
        [row["what"], number(row["median_seconds"]), _median(row["cpu_seconds"])] for row in rows
    ]
    return "Start-up", note, ["what", "s", "CPU s of the process"], cells


def _cluster(found: dict[str, Any]) -> TableOfText:
    note = (
        f"`medfusion batch` of {found['cases']} cases of {found['slices']} slices "
        f"({found['method']}) with `--cluster local:1` and without, in turn. The cases' seconds "
        "tell what the cluster costs each case; the process's also hold the start of Python, "
        "torch and the cluster, which a batch pays once."
    )
    headings = ["", "s per case", "s of all cases", "s of the process", "CPU s"]
    cells = [
        [
            name,
            _median([statistics.median(one["case_seconds"]) for one in found[name]]),
            _median([sum(one["case_seconds"]) for one in found[name]]),
            *(_median([one[key] for one in found[name]]) for key in ("seconds", "cpu_seconds")),
        ]
        for name in ("plain", "cluster")
    ]
    ratios = number(found["ratio_of_cases"]), number(found["ratio_of_processes"])
    return "Cluster", note, headings, [*cells, ["ratio", "", *ratios, ""]]


def number(value: float | None) -> str:
    """Four digits, or a dash for what was not measured."""
    if value is None:
        return "–"
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are numbers."""
    lines = [headings, ["---"] + ["--:"] * (len(headings) - 1), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
