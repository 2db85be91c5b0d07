"""From stored PET values to standardised uptake values (SUV, body weight)."""

from __future__ import annotations

from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def suv_factor_of_file(path: Path) -> float | None:
    """SUV per stored value of a PET slice, None where its header does not tell.

    Needs pydicom, which Slicer has and ``medfusion[dicom]`` brings; None without it.
    """
    if find_spec("pydicom") is None:
        return None
    import pydicom

    return suv_factor(pydicom.dcmread(path, stop_before_pixels=True))


def suv_factor(header: Any) -> float | None:
    """SUV (g/ml) per stored value (after rescaling) of a DICOM PET header.

    Body weight (g) over the dose (Bq) that is left when the image's decay correction starts:
    factor = 1000 · kg / (dose · 2^(−Δt / half-life)), as in the QIBA profile's vendor-neutral
    formula. Δt is 0 for images corrected to the injection (DecayCorrection ADMIN). None for
    units other than Bq/ml and g/ml, and where a value is missing.
    """
    if header.get("Units") == "GML":
        return 1.0
    correction = header.get("DecayCorrection")
    if header.get("Units") != "BQML" or correction not in ("START", "ADMIN"):
        return None
    try:
        tracer = header.RadiopharmaceuticalInformationSequence[0]
        dose, weight = float(tracer.RadionuclideTotalDose), float(header.PatientWeight)
        waited = 0.0 if correction == "ADMIN" else _seconds_waited(header, tracer)
        half_lives = waited / float(tracer.RadionuclideHalfLife)
        factor = 1000.0 * weight / (dose * 2.0**-half_lives)
    except (AttributeError, IndexError, TypeError, ValueError, ZeroDivisionError):
        return None
    return factor if factor > 0 else None


def _seconds_waited(header: Any, tracer: Any) -> float:
    """From the injection to the start of the series; a scan after midnight is a day later."""
    injected = _clock(tracer.RadiopharmaceuticalStartTime)
    waited = _clock(header.SeriesTime) - injected
    return (waited % timedelta(days=1)).total_seconds()


def _clock(text: Any) -> datetime:
    digits = str(text).split(".")[0].ljust(6, "0")
    return datetime.strptime(digits, "%H%M%S")
