"""The values of downstream.json as text: Markdown for documents, one page of HTML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from MedFusionLib.evaluation.legibility.page import Shown
from MedFusionLib.evaluation.speed.page import markdown

TITLE = "What fused images are good for: a class of disease"
FEW = (
    "The data are few, and nothing clinical follows. No row may be read as what a fusion adds to a "
    "diagnosis."
)
NOTES = (
    FEW,
    "Each fold leaves whole patients out, in all sets at once, about as many of each class; the "
    "patients are dealt into folds anew {repeats} times (TFormer: once). The linear head is a "
    "ridge classifier on fixed numbers of each slice, TFormer a compact network over both sources "
    "that is trained anew in each fold. Of each patient counts the share of slices whose class was "
    "found; the balanced accuracy is the mean over classes of the mean over their patients. A "
    "guess reaches 1 / number of classes.",
    "Intervals (95 %) draw patients anew within each class; they do not know what other patients "
    "would have been learned from, and with two or three patients a class they are too narrow. "
    "“By chance” is the same with the classes dealt to the patients by chance, {permutations} "
    "times: mean and 95th percentile; p is the share that does as well. p cannot fall below what "
    "the number of possible deals allows, and of many rows some are small by chance alone: “p of "
    "best” is the share in which the best of all fusions, whichever that is, does as well. “Less "
    "both” is the difference to both sources by the linear head, patient by patient.",
    "In “all sets” the scanner tells something of the disease already: the row “set alone” sees "
    "nothing but the name of the set. A row that does not exceed it may have recognised CT, not a "
    "tumour. Fusions are judged by their luminance. Learned methods saw the images of the split "
    "train, without any diagnosis.",
)
HEADINGS = ["input", "head", "balanced accuracy", "95 % interval", "by chance", "p", "p of best",
            "less both", "95 % interval"]  # fmt: skip


def notes(study: Mapping[str, Any]) -> list[str]:
    """The sentences that stand above every table."""
    return [note.format(**study) for note in NOTES]


def result_tables(study: Mapping[str, Any]) -> Iterator[Shown]:
    """One table for each set that can be tested."""
    for table in study["tables"]:
        if table["rows"]:
            names = table["tested"]
            yield Shown(
                table["title"],
                f"{table['slices']} slices. {counted(table)} {table['assignments']} possible deals "
                "of the classes.",
                [*HEADINGS, *names, "CPU s"],
                [_row(row, names) for row in table["rows"]],
            )


def untestable(study: Mapping[str, Any]) -> list[str]:
    """A sentence for each set of which nothing can be tested."""
    return [
        f"{table['title']}: not tested, as fewer than two classes have two patients. "
        f"{counted(table)}"
        for table in study["tables"]
        if not table["rows"]
    ]


def counted(table: Mapping[str, Any]) -> str:
    """How many patients of each class there are, and which classes are not tested."""
    told = []
    for name, patients in table["classes"].items():
        few = "" if name in table["tested"] or not table["rows"] else ", not tested"
        count = len(patients)
        told.append(f"{name}: {count or 'no'} patient{'s' * (count != 1)}{few}")
    return "; ".join(told).capitalize() + "."


def mapping_table(study: Mapping[str, Any]) -> Shown:
    """What class each diagnosis was taken for."""
    rows = [
        [one["diagnosis"].replace("_", " "), one["class"] or "left out", ", ".join(one["patients"])]
        for one in study["diagnoses"]
    ]
    caption = "By words of the diagnosis; left out is what has the words of none or several."
    return Shown("Diagnoses", caption, ["diagnosis", "class", "patients"], rows)


def described(study: Mapping[str, Any]) -> list[str]:
    """What was run, in sentences."""
    lines = [
        f"Pairs: {study['pairs']}, split {study['split']}, {study['sample']}.",
        f"Device: {study['device']}, {study['precision']}. Seed {study['seed']}.",
    ]
    if study["tformer_epochs"]:
        lines.append(f"TFormer: {study['tformer_epochs']} epochs in each fold.")
    if study["metadata"]:
        lines.append(
            f"Metadata: {', '.join(study['metadata'])}. A row with metadata that does not exceed "
            "“metadata alone” has nothing from the images."
        )
    weights = study["weights_sha256"].items()
    return lines + [f"Weights of {name}: SHA-256 {sha}." for name, sha in weights if sha]


def study_markdown(study: Mapping[str, Any]) -> str:
    """The whole study as Markdown."""
    parts = [f"# {TITLE}", f"MedFusion {study['version']}. Research use only.", *notes(study)]
    parts += described(study)
    for shown in (*result_tables(study), mapping_table(study)):
        parts += [f"## {shown.title}", shown.caption, markdown(shown.headings, shown.rows)]
    return "\n\n".join([*parts, *untestable(study)]).rstrip() + "\n"


PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title>
<style>
body { font-family: sans-serif; margin: 2em; color: #222; max-width: 75em; }
table { border-collapse: collapse; margin: 0.5em 0 1.5em; font-size: 85%; }
th, td { padding: 0.25em 0.6em; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; }
.few { font-weight: bold; } .wide { overflow-x: auto; }
</style></head><body>
<h1>{{ title }}</h1>
<p>MedFusion {{ version }}. Research use only, not for diagnosis.</p>
{% for note in notes %}<p{% if loop.first %} class="few"{% endif %}>{{ note }}</p>{% endfor %}
{% for line in lines %}<p>{{ line }}</p>{% endfor %}
{% for table in tables %}<h2>{{ table.title }}</h2><p>{{ table.caption }}</p>
<div class="wide"><table>
<tr>{% for heading in table.headings %}<th>{{ heading }}</th>{% endfor %}</tr>
{% for row in table.rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table></div>{% endfor %}
{% for line in untestable %}<p>{{ line }}</p>{% endfor %}
</body></html>
"""


def study_page(study: Mapping[str, Any]) -> str:
    """The whole study as one page of HTML without pictures."""
    from jinja2 import Environment

    return (
        Environment(autoescape=True)
        .from_string(PAGE)
        .render(
            title=TITLE,
            version=study["version"],
            notes=notes(study),
            lines=described(study),
            tables=[*result_tables(study), mapping_table(study)],
            untestable=untestable(study),
        )
    )


def _row(row: Mapping[str, Any], names: list[str]) -> list[str]:
    return [
        row["input"],
        row["head"],
        _share(row["balanced_accuracy"]),
        f"{_share(row['low'])} to {_share(row['high'])}",
        "–" if row["p"] is None else f"{_share(row['chance_mean'])}, {_share(row['chance_high'])}",
        *("–" if row[name] is None else f"{row[name]:.2f}" for name in ("p", "p_best")),
        f"{row['minus_both']:+.2f}",
        f"{row['minus_both_low']:+.2f} to {row['minus_both_high']:+.2f}",
        *(_share(row["per_class"][name]) for name in names),
        f"{row['cpu_seconds']:.3g}",
    ]


def _share(value: float) -> str:
    return f"{value:.2f}"
