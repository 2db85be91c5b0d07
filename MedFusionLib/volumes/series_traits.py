"""What kind of image a series is: from fields of DICOM, then from words of its description.

Descriptions are free text of the people at the scanner. What decides between two images is asked
of DICOM's own fields first; words only exclude, rank, and explain.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from MedFusionLib.volumes.series_facts import SeriesFacts

THIN_MM = 2.0
"""MR slices up to this step are as good as those of a 3D acquisition for looking at any plane."""
FUNCTIONAL = ("PET", "SPECT")

_OVERVIEW_TYPES = {"LOCALIZER"}
_PROJECTIONS = {"PROJECTION IMAGE", "MIP", "MINIP", "MIN IP"}
_PERFUSION = {"CBF", "RCBF", "CBV", "RCBV", "MTT", "TTP", "TMAX", "PERFUSION"}
_MR_MAPS = {
    *("ADC", "EADC", "TRACEW", "FA", "DIFFUSION", "SUBTRACTION", "SUB", "PHASE MAP", "P", "PHASE"),
    *("T1 MAP", "T2 MAP", "VELOCITY", "FMRI", "BOLD", "ASL"),
}
_MAP_TYPES = {
    "MR": _PROJECTIONS | _PERFUSION | _MR_MAPS,
    "CT": _PROJECTIONS | _PERFUSION,
}
"""Values of Image Type by modality; others have projections only."""
_CONTRAST_UNUSED = ("", "no", "none", "n", "false", "0")


def _words(text: str) -> re.Pattern[str]:
    """Any of these expressions, not inside a longer word."""
    return re.compile(rf"(?<![a-z])(?:{text})(?![a-z])")


_OVERVIEW = _words(
    r"loc|locali[sz]\w*|scout|survey|surview|topogram\w*|scano\w*|3[ _-]?plane|aah\w*"
)
_PROJECTION_WORDS = "mip|minip|mpvr|vrt"
_PERFUSION_WORDS = r"r?cbf|r?cbv|mtt|ttp|tmax|perf\w*|pbv"
_MAP_WORDS = {
    "MR": _words(
        rf"{_PROJECTION_WORDS}|{_PERFUSION_WORDS}|e?adc|tracew?|colfa|dwi|dti|diff\w*|ep2d\w*|epi|"
        r"bold|fmri|asl|pcasl|dsc|dce|swi|swan|qsm|phase|field[ _-]?map\w*|maps?|subtr\w*|"
        r"spectro\w*|svs|csi|mrs|tof\w*|angio\w*|mra"
    ),
    "CT": _words(f"{_PROJECTION_WORDS}|{_PERFUSION_WORDS}"),
}
_PROJECTION = _words(_PROJECTION_WORDS)
_BEFORE = r"(?:^|[^a-z0-9]|3d|(?<![a-z])e|ax|sag|cor|tra)"
_T1 = re.compile(rf"{_BEFORE}t1(?!\d)")
_T1_SEQUENCES = _words(r"mp2?rage\w*|f?spgr|bravo|mdeft|vibe|tfl\w*")
_T2 = re.compile(rf"{_BEFORE}t2(?!\d)")
_FLAIR = _words(r"\w*flair\w*|dark[ _-]?fluid")
_PD = _words(r"pd|pdw|proton[ _-]?density")
_VOLUMETRIC = re.compile(
    r"3d|mp2?rage|fspgr|bravo|vibe|(?<![a-z])(?:space|cube|vista|iso|brainview)(?![a-z])"
)
_CONTRAST = re.compile(
    r"(?<![a-z])(?:gd|gad\w*|post(?![ _-]*op)|contrast\w*|ce|km|kontrast\w*|dotarem)(?![a-z])|"
    r"(?:\+ ?(?:c|gd|km)|t1w?(?:c|gd|ce|km|post))(?![a-z])"
)
_NO_CONTRAST = re.compile(r"(?<![a-z])(?:without|w/?o|non?|ohne|sans|pre|nativ\w*|plain)(?![a-z])")
_CORRECTED = _words(r"ac|mrac|ctac|attn|att[ _-]?corr\w*|corrected")
_UNCORRECTED = _words(
    r"nac|no[ _-]?ac|non[ _-]?ac|uncorr\w*|non?[ _-]?att\w*|not[ _-]corr\w*|no[ _-]corr\w*"
)
_TRACER = _words(
    r"fdg|fet|f-?dopa|dopa|met|methionine|flt|fch|choline|psma|dota\w*|ssr|pib|amyvid|florbeta\w*|"
    r"flutemet\w*|tau|hmpao|ecd|dat|ioflupane|mibi|fmiso|h2o|ammonia"
)


@dataclass(frozen=True)
class Traits:
    """What kind of image a series is."""

    overview: bool
    """A localizer or scout, there to plan the others."""
    derived_map: bool
    """No image of the anatomy or the uptake, but computed of several, or made for a purpose that a
    reader does not see: diffusion, perfusion, projections."""
    original: bool
    """False where DICOM says that it was computed of other images, such as a reformat."""
    volumetric: bool
    """Fit to be looked at in any plane."""
    weighting: str
    """T1, T2, FLAIR, PD or empty; of MR only."""
    contrast: bool
    corrected: bool | None
    """For attenuation; None where nobody tells. Of PET and SPECT only."""
    tracers: frozenset[str]
    static: bool
    """False for PET that is sorted by time or by gate, and for SPECT projections."""


def traits_of(series: SeriesFacts) -> Traits:
    """What kind of image a series is, as far as its fields and its name tell."""
    words = f"{series.name} {series.description}".lower()
    types = {value.strip().upper() for value in series.image_type}
    is_mr, is_functional = series.modality == "MR", series.modality in FUNCTIONAL
    return Traits(
        overview=bool(types & _OVERVIEW_TYPES or _OVERVIEW.search(words)),
        derived_map=bool(
            types & _MAP_TYPES.get(series.modality, _PROJECTIONS)
            or _MAP_WORDS.get(series.modality, _PROJECTION).search(words)
        ),
        original="DERIVED" not in types,
        volumetric=_volumetric(series, words),
        weighting=_weighting(words) if is_mr else "",
        contrast=is_mr and _contrast(series, words),
        corrected=_corrected(series, words) if is_functional else None,
        tracers=frozenset(_TRACER.findall(words)) if is_functional else frozenset(),
        static=_static(series, types),
    )


def _volumetric(series: SeriesFacts, words: str) -> bool:
    if series.acquisition:
        return series.acquisition.upper() == "3D"
    thickest = max(series.spacing)
    return bool(_VOLUMETRIC.search(words)) or 0 < thickest <= THIN_MM


def named_weightings(text: str) -> tuple[str, ...]:
    """All of T1, FLAIR, T2 and PD that a name or description tells; a T2 FLAIR is a FLAIR."""
    words = text.lower()
    named = {
        "T1": _T1.search(words) or _T1_SEQUENCES.search(words),
        "FLAIR": _FLAIR.search(words),
        "T2": _T2.search(words) and not _FLAIR.search(words),
        "PD": _PD.search(words),
    }
    return tuple(weighting for weighting, found in named.items() if found)


def _weighting(words: str) -> str:
    return next(iter(named_weightings(words)), "")


def _contrast(series: SeriesFacts, words: str) -> bool:
    if series.contrast_agent.strip().lower() not in _CONTRAST_UNUSED:
        return True
    return bool(_CONTRAST.search(words)) and not _NO_CONTRAST.search(words)


def _corrected(series: SeriesFacts, words: str) -> bool | None:
    if series.corrections:
        return any(value.strip().upper() == "ATTN" for value in series.corrections)
    if _UNCORRECTED.search(words):
        return False
    return True if _CORRECTED.search(words) else None


def _static(series: SeriesFacts, types: set[str]) -> bool:
    if any(value.strip().upper() in ("DYNAMIC", "GATED") for value in series.series_type):
        return False
    return not types & {"TOMO", "DYNAMIC", "GATED", "WHOLE BODY"}
