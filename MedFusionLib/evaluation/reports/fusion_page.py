"""The report of one fusion as a self-contained HTML page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from MedFusionLib.evaluation.metric_cards import METRIC_CARDS
from MedFusionLib.evaluation.reports.legend_html import STYLE as LEGEND_STYLE
from MedFusionLib.evaluation.reports.legend_html import legend_section
from MedFusionLib.evaluation.reports.line_plot import line_plot

STYLE = """body { font-family: sans-serif; margin: 2em; color: #222; max-width: 75em; }
table { border-collapse: collapse; margin: 0.5em 0 1.5em; }
th, td { padding: 0.25em 0.8em; text-align: left; border-bottom: 1px solid #ddd; }
.warning { background: #fbe9d0; border-left: 0.4em solid #d9822b; padding: 0.5em 1em; }
.hash, .matrix { font-family: monospace; overflow-wrap: anywhere; white-space: pre-wrap; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, 21em); gap: 0.5em; }
figure { margin: 0; } figure img { max-width: 100%; }
svg { margin: 0 0.6em 0.6em 0; font-size: 11px; }"""

RAISED_BY = {
    "copying": "can be raised by copying one source",
    "noise": "looks at the fused image alone: contrast and noise raise it",
    "": "",
}
MEASURES = {
    "flicker": "change between neighbouring slices over that of the sources; above 1 is added",
    "streaks": "energy of streaks across the slices over the sources'; above 1 is added",
    "background_leak": "share of energy where both sources are background; 0 is best",
    "invented_edges": "share of fused edges that stand in neither source; 0 is best",
    "hue_error": "mean hue difference to the functional source in degrees; 0 is best",
    "entropy_inside_head": "entropy in bit over the voxels that are not background",
}


def fusion_page(
    report: Mapping[str, Any], pictures: Mapping[str, str], hidden: Mapping[str, str] | None = None
) -> str:
    """The page for a `FusionResult.report`, with plots where it holds metrics.

    `pictures`: data URIs of the alignment's pictures by name (see `quality_pictures`), or none;
    `hidden`: those of what is hidden (see `hidden_pictures`), likewise.
    """
    title = f"MedFusion report: {report['method']}"
    sections = [
        _warnings(report["warnings"]),
        _method(report),
        _volumes(report),
        legend_section(report),
        _hidden(report.get("hidden"), hidden or {}),
        _alignment(report, pictures),
        _times(report["seconds"]),
        _metrics(report.get("metrics")),
    ]
    return _page(title, sections)


def scores_page(report: Mapping[str, Any]) -> str:
    """The page for the scores of a fused volume that lies in a file (see `volume_files`)."""
    files = [(role, report[role]["path"], _window(report[role])) for role in ("reference", "other")]
    files.append(("fused", report["fused"]["path"], "–"))
    sections = [_table(("volume", "file", "window"), files), _metrics(report["metrics"])]
    if "legibility" in report:
        sections.append(_seen(report["legibility"]))
    return _page("MedFusion scores of a fused volume", sections)


def _seen(measures: Mapping[str, float | None]) -> str:
    rows = [
        (name.replace("_", " "), _number(value))
        for name, value in measures.items()
        if value is not None
    ]
    return "<h2>What a reader sees</h2>" + _table(("measure", "value"), rows)


def _page(title: str, sections: Sequence[str]) -> str:
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}'
        f"</title><style>{STYLE}\n{LEGEND_STYLE}</style></head><body><h1>{escape(title)}</h1>"
        "<p>Research use only, not for diagnosis.</p>" + "\n".join(sections) + "</body></html>\n"
    )


def _warnings(warnings: Sequence[str]) -> str:
    return "".join(f'<p class="warning">{escape(warning)}</p>' for warning in warnings)


def _method(report: Mapping[str, Any]) -> str:
    weights = report["weights_sha256"] or "none (no learned weights)"
    facts = {
        "method": f"{report['method']} ({report.get('method_kind', 'unknown kind')})",
        "options": _options(report.get("method_options") or {}),
        "weights, SHA-256": weights,
        "seed": "none" if report.get("seed") is None else report["seed"],
        "device": report.get("device_title", report["device"]),
        "precision": report["precision"],
        "plane": f"{report['plane']}, {report['slices']} slices",
        "planes": report.get("planes", "one"),
        "colour": report.get("colour", "grey"),
        "MedFusion": report["version"],
    }
    return "<h2>Method</h2>" + _table([], facts.items())


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in options.items()) or "defaults"


def _volumes(report: Mapping[str, Any]) -> str:
    rows = []
    roles = {"reference": report["reference"], "other": report["other"]}
    roles |= {f"further {n}": one for n, one in enumerate(report.get("further", ()), 1)}
    for role, volume in roles.items():
        rows.append(
            (
                role,
                volume.get("path") or "–",
                f"{volume['modality']} ({volume['modality_source']})",
                _window(volume),
                " × ".join(map(str, reversed(volume["shape"]))),
                " × ".join(f"{step:.4g}" for step in volume["spacing"]) + " mm",
            )
        )
    headings = ("volume", "file", "modality (known from)", "window", "voxels", "spacing")
    return "<h2>Volumes</h2>" + _table(headings, rows)


def _window(volume: Mapping[str, Any]) -> str:
    window = volume["window"]
    return f"{window['name']}: {window['low']:g} to {window['high']:g}"


def _alignment(report: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    """How each other volume was laid on the reference; the pictures are of the first."""
    landmarks = _landmarks(report["landmarks"]) if report.get("landmarks") else {}
    sections = [f"<h2>Alignment</h2>{_table([], (_placed(report) | landmarks).items())}"]
    sections += [_pictures(pictures), _matrix(report)]
    for number, placed in enumerate(report.get("further", ()), 1):
        facts = _table([], _placed(placed).items())
        sections += [f"<h3>further {number} ({escape(placed['modality'])})</h3>", facts]
        sections.append(_matrix(placed))
    return "".join(sections)


def _placed(report: Mapping[str, Any]) -> dict[str, str]:
    facts = {
        "kind": report["transform"]["kind"],
        "overlap": f"{report['overlap']['kind']}, {100 * report['overlap']['fraction']:.0f} %",
    }
    if report.get("registration"):
        facts |= _registration(report["registration"]["quality"])
    return facts


def _matrix(report: Mapping[str, Any]) -> str:
    matrix = report["transform"].get("matrix")
    shown = "not linear" if matrix is None else "\n".join(_matrix_row(row) for row in matrix)
    return (
        "<p>Transform from reference space to other space (LPS, mm):</p>"
        f'<p class="matrix">{escape(shown)}</p>'
    )


def _registration(quality: Mapping[str, Any]) -> dict[str, str]:
    residual = quality["residual_mm"]
    agreed = "no position was found again" if residual is None else f"{residual:.1f} mm"
    return {
        "registration": f"{quality['verdict']}: {quality['reason']}",
        "frames of reference": quality["frames_sentence"],
        "mutual information": f"{quality['mutual_information_before']:.3f} before, "
        f"{quality['mutual_information_after']:.3f} after (nats); "
        f"{quality['turned_information']:.3f} at best where the other volume is turned far away",
        "head": f"moved by {quality['moved_mm']:.1f} mm, turned by "
        f"{quality['turned_degrees']:.0f}°, {100 * quality['overlap']:.0f} % overlaps",
        "repeated registrations": f"{agreed} apart, limit {quality['residual_limit_mm']:.1f} mm "
        f"({len(quality['repeats'])} repeats)",
    }


def _landmarks(landmarks: Mapping[str, Any]) -> dict[str, str]:
    each = ", ".join(
        f"{point['label']} {point['distance_mm']:.1f} mm" for point in landmarks["points"]
    )
    return {
        "landmarks": f"{landmarks['mean_mm']:.1f} mm apart on average, "
        f"{landmarks['largest_mm']:.1f} mm at most ({each})"
    }


def _pictures(pictures: Mapping[str, str]) -> str:
    if not pictures:
        return "<p>The alignment was not pictured.</p>"
    return (
        "<p>Look before you trust: in a checkerboard, squares of the reference and of the other "
        "volume take turns, and outlines must run on from square to square. In the pictures of "
        "edges, the reference's edges (yellow) must lie on those of the other volume.</p>"
        + _figures(pictures)
    )


def _hidden(figures: Mapping[str, Any] | None, pictures: Mapping[str, str]) -> str:
    """The section of what the fused volume hides; nothing where that was not measured."""
    if figures is None:
        return ""
    return (
        f"<h2>What is hidden</h2><p><b>{escape(figures['sentence'])}</b></p>"
        "<p>Orange: places where the fused volume shows less than a fifth of the local contrast of "
        "the other volume, or inverts it; blue: of the reference; violet: of both. Look there at "
        "the sources themselves. Each plane is cut where the most is hidden. Before it the same "
        "slice as it was fused.</p>" + _figures(pictures)
    )


def _figures(pictures: Mapping[str, str]) -> str:
    figures = "".join(
        f'<figure><img alt="{escape(name)}" src="{uri}">'
        f"<figcaption>{escape(name.replace('-', ', '))}</figcaption></figure>"
        for name, uri in pictures.items()
    )
    return f'<div class="pictures">{figures}</div>'


def _matrix_row(row: Sequence[float]) -> str:
    return " ".join(f"{value:12.6f}" for value in row)


def _times(seconds: Mapping[str, float]) -> str:
    rows = [(name, f"{value:.2f} s") for name, value in seconds.items()]
    return "<h2>Times</h2>" + _table([], rows)


def _metrics(metrics: Mapping[str, Any] | None) -> str:
    if metrics is None:
        return "<h2>Metrics</h2><p>The fused slices were not measured.</p>"
    means = [
        (
            name,
            _number(metrics["mean"][name]),
            "higher" if card.higher_is_better else "lower",
            card.value_range,
            card.title,
            RAISED_BY[card.raised_by],
        )
        for name, card in METRIC_CARDS.items()
    ]
    whole = [
        (name, _number(value), MEASURES.get(name, "")) for name, value in metrics["volume"].items()
    ]
    plots = [line_plot(name, values) for name, values in metrics["per_slice"].items()]
    return (
        f"<h2>Metrics</h2><p>Definition set {escape(metrics['definition_set'])}. Means over the "
        f"{metrics['slices'] - metrics['empty_slices']} of {metrics['slices']} "
        f"{escape(metrics['plane'])} slices that show something.</p>"
        + _table(("metric", "mean", "better", "range", "what it is", "beware"), means)
        + "<h2>The whole volume</h2>"
        + _table(("measure", "value", "what it is"), whole)
        + "<h2>Along the slices</h2>"
        + "".join(plots)
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _table(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join(
        "<tr>"
        + "".join(f'<td class="{_cell(cell)}">{escape(str(cell))}</td>' for cell in row)
        + "</tr>"
        for row in rows
    )
    return f"<table>{f'<tr>{head}</tr>' if head else ''}{body}</table>"


def _cell(text: Any) -> str:
    """Long hashes may break anywhere; all else stays as it is."""
    return "hash" if len(str(text)) == 64 and " " not in str(text) else "text"
