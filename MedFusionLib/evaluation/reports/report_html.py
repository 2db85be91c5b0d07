"""The leader board as one self-contained HTML page: tables, box plots, contact sheets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from MedFusionLib.evaluation.leaderboard import Table
from MedFusionLib.evaluation.legibility.page import NOTES as SEEN_NOTES
from MedFusionLib.evaluation.legibility.page import cell_tables, figure_tables
from MedFusionLib.evaluation.metric_cards import METRIC_CARDS
from MedFusionLib.evaluation.reports.pictures import box_plots, contact_sheet
from MedFusionLib.evaluation.scoring import SIDE_MEASURES, Scored, Sources
from MedFusionLib.version import __version__

MARKS = {"copying": "†", "noise": "‡", "": ""}
NOTES = (
    "† can be raised by copying one source. ‡ looks at the fused image alone, so contrast and "
    "noise raise it. Pixel maximum is a strong baseline on MI, VIF and SSIM: compare with it, "
    "and with the average, before anything else.",
    "The mean rank is the mean, over the twelve metrics, of a method's rank within its table (1 is "
    "best, ties share their ranks). MSE, PSNR and CC are near their best for the plain average.",
    "The 95 % intervals of the means are from a bootstrap that draws whole patients; with few "
    "patients they are rough, and with one there is none.",
    "Not part of the rank: invented edges is the share of fused edges that stand in neither source "
    "within 2 pixels; background leak the share of energy where both sources are background; hue "
    "error the mean hue difference to the functional source in degrees; entropy inside the head "
    "the EN of the pixels where a source shows something, which a grey background cannot raise. "
    "SSIM has the data range 255; SSIM range 2 is the same with the range that scikit-image took "
    "for floats, as tables of other papers have it: compare with them in the column of theirs.",
)

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title>
<style>
body { font-family: sans-serif; margin: 2em; color: #222; }
table { border-collapse: collapse; margin: 0.5em 0 1.5em; font-size: 85%; }
th, td { padding: 0.25em 0.6em; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; }
td small { display: block; color: #666; }
caption { text-align: left; font-weight: bold; padding: 0.4em 0; }
.best { font-weight: bold; background: #e8f3e8; }
.published td:first-child { font-style: italic; }
.sheet th, .sheet td { text-align: center; border: 0; }
.wide { overflow-x: auto; } img { max-width: 100%; }
</style></head><body>
<h1>{{ title }}</h1>
<p>MedFusion {{ version }}. Research use only, not for diagnosis.</p>
{% for line in lines %}<p>{{ line }}</p>{% endfor %}
{% for note in notes %}<p>{{ note }}</p>{% endfor %}
{% for section in sections %}
<h2>{{ section.name }}</h2>
{% for table in section.tables %}<div class="wide"><table><caption>{{ table.caption }}</caption>
<tr><th>method</th>{% for heading in table.headings %}<th>{{ heading }}</th>{% endfor %}</tr>
{% for row in table.rows %}<tr{% if row.published %} class="published"{% endif %}>
<td>{{ row.method }}{% if row.published %} (published images){% endif %}</td>
{% for cell in row.cells %}<td{% if cell.best %} class="best"{% endif %}>{{ cell.text }}
{%- if cell.interval %}<small>{{ cell.interval }}</small>{% endif %}</td>{% endfor %}</tr>
{% endfor %}</table></div>{% endfor %}
{% for plot in section.plots %}<h3>{{ plot.title }}</h3>
<img alt="{{ plot.title }}" src="{{ plot.uri }}">{% endfor %}
{% for sheet in section.sheets %}<h3>{{ sheet.title }}</h3><table class="sheet">
<tr><th></th><th>MR</th><th>other</th><th>fused</th></tr>
{% for row in sheet.rows %}<tr><td>{{ row.place }}: pair {{ row.pair_id }}<br>
<small>{{ row["values"] }}</small></td>
{% for name in ("reference", "other", "fused") -%}
<td><img alt="{{ name }} {{ row.pair_id }}" src="{{ row[name] }}"></td>{% endfor %}</tr>
{% endfor %}</table>{% endfor %}
{% endfor %}
{% if seen %}<h2>What a reader sees</h2>{% endif %}
{% for note in seen_notes %}<p>{{ note }}</p>{% endfor %}
{% for table in seen %}<div class="wide"><table>
<caption>{{ table.title }}. {{ table.caption }}</caption>
<tr>{% for heading in table.headings %}<th>{{ heading }}</th>{% endfor %}</tr>
{% for row in table.rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table></div>{% endfor %}
</body></html>
"""


def leaderboard_page(
    title: str,
    lines: Sequence[str],
    tables: Sequence[Table],
    scores: pd.DataFrame,
    scored: Sequence[Scored],
    sources: dict[tuple[str, str], Sources],
    seen: Mapping[str, Any] | None = None,
) -> str:
    """The whole page. `lines` tell what was compared: the manifest, weights, device.

    ``seen``: the values of legibility.json, where that was judged.
    """
    from jinja2 import Environment

    page = Environment(autoescape=True).from_string(PAGE)
    names = dict.fromkeys(table.set_name for table in tables)
    return page.render(
        title=title,
        version=__version__,
        lines=lines,
        notes=NOTES,
        seen_notes=[] if seen is None else SEEN_NOTES,
        seen=[] if seen is None else [*figure_tables(seen), *cell_tables(seen)],
        sections=[_section(name, tables, scores, scored, sources) for name in names],
    )


def _heading(name: str) -> str:
    if name not in METRIC_CARDS:
        return f"{name.replace('_', ' ')} {SIDE_MEASURES.get(name, '')}".rstrip()
    card = METRIC_CARDS[name]
    return f"{name}{MARKS[card.raised_by]} {'↑' if card.higher_is_better else '↓'}"


def _section(
    name: str,
    tables: Sequence[Table],
    scores: pd.DataFrame,
    scored: Sequence[Scored],
    sources: dict[tuple[str, str], Sources],
) -> dict[str, Any]:
    of_set = scores[scores["set"] == name]
    here = [table for table in tables if table.set_name == name]
    pictured = [one for one in scored if one.pair.set_name == name]
    return {
        "name": name,
        "tables": [_table(table) for table in here],
        "plots": [
            {"title": f"{table.title}: {len(table.pair_ids)} pairs", "uri": _plot(table, of_set)}
            for table in here
        ],
        "sheets": [
            {
                "title": f"{name}, {method}: best, median and worst pair",
                "rows": contact_sheet([one for one in pictured if one.method == method], sources),
            }
            for method in dict.fromkeys(one.method for one in pictured)
        ],
    }


def _plot(table: Table, scores: pd.DataFrame) -> str:
    shown = scores["method"].isin(table.rows.index) & scores["pair_id"].isin(table.pair_ids)
    return box_plots(scores[shown])


def _table(table: Table) -> dict[str, Any]:
    best = _best(table)
    return {
        "caption": table.caption,
        "headings": [_heading(name) for name in table.columns],
        "rows": [
            {
                "method": method,
                "published": method in table.published,
                "cells": [
                    {
                        "text": _number(row[name]),
                        "interval": _interval(row, name),
                        "best": row[name] == best[name],
                    }
                    for name in table.columns
                ],
            }
            for method, row in table.rows.iterrows()
        ],
    }


def _best(table: Table) -> dict[str, float]:
    higher = {name for name, card in METRIC_CARDS.items() if card.higher_is_better}
    rows = table.rows
    return {
        name: rows[name].max() if name in higher else rows[name].min() for name in table.columns
    }


def _interval(row: pd.Series, name: str) -> str:
    if name not in METRIC_CARDS or not math.isfinite(row[f"{name}_low"]):
        return ""
    return f"[{_number(row[f'{name}_low'])}, {_number(row[f'{name}_high'])}]"


def _number(value: float) -> str:
    """Four significant digits; a dash where there is no value."""
    if math.isnan(value):
        return "–"
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
