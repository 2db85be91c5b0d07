"""The tables of a registration study: a line per pair, and what became of each part of the list."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from MedFusionLib.evaluation.registration_study import CHECK_ENGINE, PASS, RIGHT, Row
from MedFusionLib.registration.quick_check import ALIGNED, APART, UNKNOWN


def summary(rows: Sequence[Row]) -> str:
    """Markdown: errors and verdicts per pair and engine, the quick check, and the totals."""
    registered = [row for row in rows if row.engine != CHECK_ENGINE]
    checked = [row for row in rows if row.engine == CHECK_ENGINE]
    return "\n".join(
        [*_error_lines(registered), "", *_check_lines(checked), "", *_total_lines(rows), ""]
    )


def _groups(rows: Sequence[Row], *names: str) -> dict[tuple[str, ...], list[Row]]:
    """The rows by what they share, in the order of the list."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(getattr(row, name) for name in names), []).append(row)
    return found


def _error_lines(rows: Sequence[Row]) -> list[str]:
    lines = [
        "| pair | part | engine | runs | median error | largest | diagonal | within a diagonal "
        "| pass | median time |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for key, group in _groups(rows, "pair", "part", "relation", "engine").items():
        name, part, relation, engine = key
        known = np.array([row.error for row in group if np.isfinite(row.error)])
        middle, worst = (
            f"{np.percentile(known, q):.2f} mm" if known.size else "–" for q in (50, 100)
        )
        judged = [row for row in group if row.verdict]
        lines.append(
            f"| {name} ({relation}) | {part} | {engine} | {len(group)} | {middle} | {worst} "
            f"| {np.median([row.diagonal for row in group]):.2f} mm "
            f"| {sum(row.error <= row.diagonal for row in group) if known.size else '–'} "
            f"| {sum(row.verdict == PASS for row in group) if judged else '–'} "
            f"| {np.median([row.seconds for row in group]):.1f} s |"
        )
    return lines


def _check_lines(rows: Sequence[Row]) -> list[str]:
    lines = [
        "| pair | part | quick checks | right | wrong | cannot tell | median time |",
        "|---|---|---|---|---|---|---|",
    ]
    for (name, part, relation), group in _groups(rows, "pair", "part", "relation").items():
        silent = sum(row.check == UNKNOWN for row in group)
        right = sum(check_is_right(row) for row in group if row.check != UNKNOWN)
        lines.append(
            f"| {name} ({relation}) | {part} | {len(group)} | {right} "
            f"| {len(group) - right - silent} | {silent} "
            f"| {np.median([row.seconds for row in group]):.1f} s |"
        )
    return lines


def _total_lines(rows: Sequence[Row]) -> list[str]:
    lines = ["| part | what | how many |", "|---|---|---|"]
    for (part,), group in _groups(rows, "part").items():
        judged = [row for row in group if row.verdict]
        right = [row for row in judged if row.relation == RIGHT]
        other = [row for row in judged if row.relation != RIGHT]
        checked = [row for row in group if row.engine == CHECK_ENGINE]
        asked = [row for row in checked if row.relation == RIGHT]
        unlike = [row for row in checked if row.relation != RIGHT]
        near = [row for row in right if row.error <= row.diagonal]
        far = [row for row in right if not row.error <= 2 * row.diagonal]
        apart = [row for row in asked if row.misplaced > 2 * row.diagonal]
        counts = (
            ("errors below one diagonal", near, right),
            ("of these not called pass", _not_passed(near), near),
            ("errors beyond two diagonals", far, right),
            ("of these called pass", _passed(far), far),
            ("wrong or flipped pairs called pass", _passed(other), other),
            ("quick checks right", [row for row in asked if check_is_right(row)], asked),
            ("beyond two diagonals told to lie on each other", _lying(apart), apart),
            ("wrong or flipped pairs told so", _lying(unlike), unlike),
        )
        lines += [
            f"| {part} | {what} | {len(some)} of {len(all_)} |" for what, some, all_ in counts
        ]
    return lines


def _passed(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.verdict == PASS]


def _not_passed(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.verdict != PASS]


def _lying(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.check == ALIGNED]


def check_is_right(row: Row) -> bool:
    """Whether the quick check told the truth.

    Up to one diagonal they lie on each other, beyond two they are shifted; between, both are
    right. Volumes of two heads, or a flipped one, must not be said to lie on each other.
    """
    if not np.isfinite(row.misplaced):
        return row.check != ALIGNED
    if row.misplaced <= row.diagonal:
        return row.check == ALIGNED
    if row.misplaced > 2 * row.diagonal:
        return row.check == APART
    return row.check != UNKNOWN
