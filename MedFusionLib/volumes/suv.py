"""From PET values to standardised uptake values (SUV, body weight).

The rules are those of the vendor-neutral SUV calculation of the Quantitative Imaging Biomarkers
Alliance (QIBA): which time the image's decay correction goes back to, and what each unit needs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

LONGEST_NIGHT = timedelta(hours=12)
"""An injection later than the scan by the clock, and less than this before it, was yesterday's."""
DATELESS_HALF_LIFE = 6 * 3600.0
"""Tracers that live longer (s) are also scanned days later; a time alone does not tell the day."""
MOST_HALF_LIVES = 10.0
"""Nobody scans a tracer after so many half-lives; the times are wrong."""
SMALLEST_DOSE = 1e5
"""Becquerels; smaller numbers are a dose in another unit, such as MBq."""
HEAVIEST = 500.0
PHILIPS, GE = (0x7053, "philips pet private group"), (0x0009, "gems_petd_01")
UNITS = {
    "CNTS": "counts",
    "PROPCPS": "proportional to counts per second",
    "CPS": "counts per second",
    "NONE": "without a unit",
}


class _NoFactor(Exception):
    """Why a header does not give a factor, as the end of a sentence."""


def suv_scale(headers: Sequence[Any]) -> tuple[float | None, str]:
    """SUV (g/ml) per value (after rescaling) of a PET series, or None and the reason.

    ``headers`` are those of all its files. Body weight (g) over the dose (Bq) that is left when the
    image's decay correction starts: factor = 1000 · kg / (dose · 2^(−Δt / half-life)). Δt is 0 for
    images corrected to the injection (DecayCorrection ADMIN).
    """
    try:
        return _factor(headers), ""
    except _NoFactor as error:
        return None, str(error)
    except Exception as error:  # pydicom names no common kind for values that are no values
        return None, f"its header holds a value that cannot be read ({error})"


def suv_factor(header: Any) -> float | None:
    """The factor of a single header; see ``suv_scale``."""
    return suv_scale([header])[0]


def _factor(headers: Sequence[Any]) -> float:
    units = _same(headers, "Units")
    if units == "GML":
        return _already_suv(headers)
    if units not in ("BQML", "CNTS"):
        raise _NoFactor(f"its values are {UNITS.get(units, units or 'of an unknown unit')}")
    _refuse_uncorrected(headers)
    if units == "BQML":
        return _per_becquerel(headers)
    scale = _same_private(headers, *PHILIPS, 0x00)
    if scale:
        return scale
    concentration = _same_private(headers, *PHILIPS, 0x09)
    if concentration:
        return concentration * _per_becquerel(headers)
    raise _NoFactor("its values are counts, and Philips' scale for them is missing")


def _already_suv(headers: Sequence[Any]) -> float:
    kind = _same(headers, "SUVType")
    if kind not in ("", "BW"):
        raise _NoFactor(f"its values are SUV of another kind ({kind}), not by body weight")
    return 1.0


def _refuse_uncorrected(headers: Sequence[Any]) -> None:
    correction = _same(headers, "DecayCorrection")
    if correction not in ("START", "ADMIN"):
        raise _NoFactor(
            f"its decay correction is '{correction or 'not given'}', not START or ADMIN"
        )
    for header in headers:
        corrected = header.get("CorrectedImage")
        if corrected and not {"ATTN", "DECY"} <= {str(word) for word in _several(corrected)}:
            raise _NoFactor("it was not corrected for both attenuation and decay")


def _several(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) else list(value)


def _same(headers: Sequence[Any], keyword: str) -> str:
    """The text that all headers give; slices that differ have no common factor."""
    texts = {"" if header.get(keyword) is None else str(header.get(keyword)) for header in headers}
    if len(texts) > 1:
        raise _NoFactor(f"its slices differ in {keyword} ({', '.join(sorted(texts))})")
    return texts.pop()


def _same_private(headers: Sequence[Any], group: int, creator: str, element: int) -> float | None:
    values = {_private(header, group, creator, element) for header in headers}
    if len(values) > 1:
        raise _NoFactor("its slices differ in Philips' private scale")
    value = values.pop()
    # Scanners write 0 where they do not know it.
    return _positive(value, "Philips' private scale") if value and float(value) else None


def _private(header: Any, group: int, creator: str, element: int) -> Any:
    """A private value, wherever its creator reserved a block; None without it."""
    for block in range(0x10, 0x20):
        owner = header.get((group, block))
        found = header.get((group, block << 8 | element))
        if owner is None or found is None or str(owner.value).strip().lower() != creator:
            continue
        value = found.value
        return value.decode("ascii").strip(" \0") if isinstance(value, bytes) else str(value)
    return None


def _per_becquerel(headers: Sequence[Any]) -> float:
    """SUV per Bq/ml."""
    weight = _positive(_same(headers, "PatientWeight"), "the patient's weight")
    if weight > HEAVIEST:
        raise _NoFactor(f"the patient's weight, {weight:g} kg, cannot be right")
    tracer = _tracer(headers)
    dose = _positive(tracer.get("RadionuclideTotalDose"), "the injected dose")
    if dose < SMALLEST_DOSE:
        raise _NoFactor(f"the injected dose, {dose:g} Bq, is too small to be in becquerels")
    half_life = _positive(tracer.get("RadionuclideHalfLife"), "the half-life")
    waited = 0.0
    if _same(headers, "DecayCorrection") == "START":
        waited = _seconds_waited(headers, tracer, half_life)
    return 1000.0 * weight / (dose * 2.0 ** -(waited / half_life))


def _positive(value: Any, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise _NoFactor(f"{name} is missing or no positive number")
    return number


def _tracer(headers: Sequence[Any]) -> Any:
    """The radiopharmaceutical, the same in all headers."""
    tracers = [header.get("RadiopharmaceuticalInformationSequence") or [] for header in headers]
    if any(len(items) != 1 for items in tracers):
        raise _NoFactor("it names no radiopharmaceutical, or several")
    items = [items[0] for items in tracers]
    for keyword in ("RadionuclideTotalDose", "RadionuclideHalfLife"):
        _same(items, keyword)
    return items[0]


def _seconds_waited(headers: Sequence[Any], tracer: Any, half_life: float) -> float:
    """From the injection to the time that the image's decay correction goes back to."""
    scanned = _scan_start(headers, half_life)
    waited = scanned - _injection(tracer, scanned, half_life)
    seconds = waited.total_seconds()
    if seconds < 0 or seconds > MOST_HALF_LIVES * half_life:
        raise _NoFactor(f"{seconds / 3600:.1f} hours between injection and scan cannot be right")
    return seconds


def _injection(tracer: Any, scanned: datetime, half_life: float) -> datetime:
    whole = tracer.get("RadiopharmaceuticalStartDateTime")
    if whole:
        digits = str(whole).split(".")[0].split("+")[0].split("-")[0]
        return datetime.strptime(digits.ljust(14, "0"), "%Y%m%d%H%M%S")
    clock = _clock(tracer.get("RadiopharmaceuticalStartTime"), "the time of injection")
    if half_life > DATELESS_HALF_LIFE:
        raise _NoFactor("the day of injection is missing, and the tracer lives long")
    injected = scanned.replace(hour=0, minute=0, second=0, microsecond=0) + clock
    if injected > scanned:
        injected -= timedelta(days=1)
        if scanned - injected > LONGEST_NIGHT:
            raise _NoFactor("the time of injection lies after the scan")
    return injected


def _scan_start(headers: Sequence[Any], half_life: float) -> datetime:
    """The series' time, unless images were acquired before it: then it is that of later work.

    In that case GE's private scan time counts, else the start that the earliest image tells.
    """
    series = min(_moment(header, "SeriesDate", "SeriesTime") for header in headers)
    starts = [
        _moment(header, "AcquisitionDate", "AcquisitionTime", after=series)
        for header in headers
        if header.get("AcquisitionTime")
    ]
    if not starts or series <= min(starts):
        return series
    private = _private(headers[0], *GE, 0x0D)
    if private:
        return datetime.strptime(private.split(".")[0].ljust(14, "0"), "%Y%m%d%H%M%S")
    return min(
        start - _since_reference(header, half_life)
        for header, start in zip(
            [header for header in headers if header.get("AcquisitionTime")], starts, strict=True
        )
    )


def _moment(header: Any, date: str, time: str, after: datetime | None = None) -> datetime:
    """A date with its time. One without a date is that of the series, or the night after it."""
    clock = _clock(header.get(time), f"its {time}")
    day = header.get(date) or header.get("SeriesDate") or header.get("StudyDate") or "20000101"
    moment = datetime.strptime(str(day), "%Y%m%d") + clock
    dateless = after is not None and not header.get(date)
    if dateless and after is not None and after - moment > LONGEST_NIGHT:
        moment += timedelta(days=1)
    return moment


def _clock(value: Any, name: str) -> timedelta:
    if not value:
        raise _NoFactor(f"{name} is missing")
    digits = str(value).replace(":", "").split(".")[0].ljust(6, "0")
    clock = datetime.strptime(digits, "%H%M%S")
    return timedelta(hours=clock.hour, minutes=clock.minute, seconds=clock.second)


def _since_reference(header: Any, half_life: float) -> timedelta:
    """How long an image's acquisition began after the time that its decay correction goes back to.

    The frame reference time is when, since then, the average count rate was met; within the frame
    that is ln(λT / (1 − e^(−λT))) / λ after its start (DICOM PS3.3 C.8.9.4.1.5).
    """
    reference = float(header.get("FrameReferenceTime") or 0) / 1000
    duration = float(header.get("ActualFrameDuration") or 0) / 1000
    if reference <= 0 or duration <= 0:
        return timedelta(0)
    decay = math.log(2) / half_life
    decayed = decay * duration
    average = math.log(decayed / -math.expm1(-decayed)) / decay
    return timedelta(seconds=reference - average)
