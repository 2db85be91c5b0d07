"""The whole way of `medfusion evaluate` on slice pairs: read, fuse, score, tabulate, write."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from MedFusionLib.computing.device import Device
from MedFusionLib.errors import InputError
from MedFusionLib.evaluation.leaderboard import (
    OWN,
    PUBLISHED,
    Table,
    make_tables,
    score_frame,
    tables_as_json,
)
from MedFusionLib.evaluation.legibility.board import (
    LegibilityBoard,
    board_as_json,
    judge_pairs,
    with_ranks,
    write_board,
)
from MedFusionLib.evaluation.pairs import Pair, Published
from MedFusionLib.evaluation.scoring import (
    Progress,
    Scored,
    Sources,
    read_sources,
    score_method,
    score_published,
)
from MedFusionLib.methods import create_method
from MedFusionLib.version import __version__


@dataclass(frozen=True)
class Evaluation:
    """Everything that the files of an evaluation are made from."""

    scores: pd.DataFrame
    tables: list[Table]
    scored: list[Scored]
    sources: dict[tuple[str, str], Sources]
    weights: dict[str, str | None]
    """SHA-256 of each method's weights, None for a classical method."""
    legibility: LegibilityBoard | None = None
    """What a reader sees, where that was judged."""


def evaluate_pairs(
    pairs: Sequence[Pair],
    published: Sequence[Published],
    methods: Sequence[str],
    split: str,
    device: Device,
    precision: str,
    progress: Progress,
) -> Evaluation:
    """Score our methods on all pairs, and published images on theirs.

    Raises: InputError for a file that is no image of the pair's size, and for published images
    that are named like a method.
    """
    if shared := {result.method for result in published} & set(methods):
        raise InputError(
            f"The fused images to score are named '{shared.pop()}', as one of the methods is. "
            "Give their folder (or the table's column 'method') another name."
        )
    sources = {pair.key: read_sources(pair) for pair in pairs}
    weights: dict[str, str | None] = {}

    def of_methods() -> Iterator[Scored]:
        for name in methods:
            method = create_method(name, device.device)
            weights[name] = getattr(method, "weights_sha256", None)
            yield from score_method(
                method, list(sources.values()), device.device, precision, progress
            )

    own = list(of_methods())
    peers = list(score_published(published, sources))
    frames = [score_frame(own, OWN), score_frame(peers, PUBLISHED)]
    scores = pd.concat([frame for frame in frames if not frame.empty], ignore_index=True)
    return Evaluation(scores, make_tables(scores, split), own + peers, sources, weights)


def judge_legibility(
    evaluation: Evaluation,
    pairs: Sequence[Pair],
    published: Sequence[Published],
    methods: Sequence[str],
    device: Device,
    precision: str,
    progress: Progress,
) -> Evaluation:
    """The evaluation with what a reader sees of these of its pairs, and the ranks of that."""
    board = judge_pairs(pairs, published, methods, device, precision, progress)
    return replace(evaluation, legibility=board, tables=with_ranks(evaluation.tables, board))


def write_evaluation(
    evaluation: Evaluation, folder: Path, title: str, described: dict[str, Any]
) -> None:
    """Write pairs.csv, leaderboard.json and report.html into a folder, made if need be.

    Where legibility was judged, also legibility.json, lesions.csv and pictures.csv.
    `described` says what was compared (manifest, split, device, precision); it goes into the JSON
    and, as sentences, into the page.
    """
    from MedFusionLib.evaluation.reports.report_html import leaderboard_page
    from MedFusionLib.outputs import together, write_text

    summary = {
        "version": __version__,
        "title": title,
        **described,
        "weights_sha256": evaluation.weights,
        "tables": tables_as_json(evaluation.tables),
    }
    lines = [f"{name.replace('_', ' ').capitalize()}: {text}." for name, text in described.items()]
    lines += [
        f"Weights of {name}: SHA-256 {sha}." for name, sha in evaluation.weights.items() if sha
    ]
    board, seen = evaluation.legibility, None
    if board is not None:
        described = {**described, "sample": _sample(board)}
        seen = board_as_json(board, described)
    page = leaderboard_page(
        title,
        lines,
        evaluation.tables,
        evaluation.scores,
        evaluation.scored,
        evaluation.sources,
        seen,
    )
    scores = evaluation.scores.to_csv(index=False, lineterminator="\n")
    with together() as outputs:
        partial = outputs.files_into(folder)
        if board is not None:
            write_board(board, partial, described)
        write_text(partial / "pairs.csv", scores)
        write_text(
            partial / "leaderboard.json", json.dumps(summary, indent=1, allow_nan=False) + "\n"
        )
        write_text(partial / "report.html", page)


def _sample(board: LegibilityBoard) -> str:
    counts = [f"{table.pairs} of {table.set_name}" for table in board.tables if not table.published]
    return f"pairs judged: {', '.join(counts)}"
