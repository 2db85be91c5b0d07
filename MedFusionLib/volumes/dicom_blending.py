"""The other images laid over the reference's, as a DICOM Blending Softcopy Presentation State.

Nothing is computed here: a viewer shows the original images of both series, each in the window in
which it was fused, the other's through a colour map and half transparent (DICOM PS3.3, A.33.4 and
C.11.14; PS3.4, N.2.4). It is the form that IHE's profile Image Fusion asks for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from MedFusionLib.volumes.dicom_derived import (
    RESEARCH_ONLY,
    Sources,
    become_instance,
    decimals,
    image_reference,
    new_series,
)
from MedFusionLib.volumes.srgb_profile import srgb_profile

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

BLENDING_STATE_STORAGE = "1.2.840.10008.5.1.4.1.1.11.4"
BLENDING_SERIES = 9300
"""Series number, to which the minute is added."""
OPACITY = 0.5
"""Of the other images."""


def why_not_blended(sources: Sources, report: Mapping[str, Any]) -> str | None:
    """A sentence where the two series cannot be shown as a blending state; None where they can."""
    if report["colour"] == "own":
        return "the other volume has colours of its own, and DICOM blends grey images"
    for header in (*sources.references, *sources.others):
        if "NumberOfFrames" in header:
            return "the windows of multi-frame files are not written yet"
        if header.get("PhotometricInterpretation") != "MONOCHROME2":
            return "an image in which bright means little would be shown inverted"
    return None


def blending_state(
    sources: Sources,
    report: Mapping[str, Any],
    palette: np.ndarray,
    registration: Dataset | None,
) -> Dataset:
    """The presentation state of two series for which ``why_not_blended`` has nothing to say.

    ``report`` is the fusion's, with both windows. ``palette`` (256, 3), in [0, 1], are the colours
    from the low end of the other's window to the high one. ``registration`` is the object that
    relates the two series, None where they lie as they are.
    """
    dataset = new_series(sources, report, BLENDING_SERIES, " blending")
    dataset.SOPClassUID, dataset.Modality = BLENDING_STATE_STORAGE, "PR"
    become_instance(dataset)
    dataset.InstanceNumber = 1
    dataset.ContentLabel = "BLENDING"
    over = "{other} over {reference}".format_map(
        {role: report[role]["modality"] for role in ("reference", "other")}
    )
    dataset.ContentDescription = f"{over}. {RESEARCH_ONLY}"[:64]
    dataset.ContentCreatorName = ""
    dataset.PresentationCreationDate, dataset.PresentationCreationTime = (
        dataset.ContentDate,
        dataset.ContentTime,
    )
    dataset.BlendingSequence = [
        _layer("UNDERLYING", sources.references, report["reference"]["window"]),
        _layer("SUPERIMPOSED", sources.others, report["other"]["window"]),
    ]
    dataset.RelativeOpacity = OPACITY
    if registration is not None:
        dataset.ReferencedSpatialRegistrationSequence = [_place_of(registration)]
    dataset.DisplayedAreaSelectionSequence = [_whole_area(sources.references)]
    _add_palette(dataset, palette)
    dataset.ICCProfile, dataset.ColorSpace = srgb_profile(), "SRGB"
    # A presentation state has neither a frame of reference nor content dates of its own.
    del dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator
    del dataset.ContentDate, dataset.ContentTime
    return dataset


def _layer(position: str, images: Sequence[Dataset], window: Mapping[str, Any]) -> Dataset:
    from pydicom.dataset import Dataset

    series = Dataset()
    series.SeriesInstanceUID = images[0].SeriesInstanceUID
    series.ReferencedImageSequence = [image_reference(image) for image in images]
    layer = Dataset()
    layer.BlendingPosition = position
    layer.StudyInstanceUID = images[0].StudyInstanceUID
    layer.ReferencedSeriesSequence = [series]
    _add_windows(layer, images, float(window["low"]), float(window["high"]))
    return layer


def _add_windows(layer: Dataset, images: Sequence[Dataset], low: float, high: float) -> None:
    """The window, in rescaled values, of all images of a layer.

    A state holds one rescaling for all images of a layer, which replaces their own (PS3.4, N.2.1).
    Slices that are scaled one by one, as in most PET series, therefore stay as they are stored, and
    get a window each, in stored values.
    """
    rescalings = [_rescaling(image) for image in images]
    if len(set(rescalings)) == 1:
        _set_rescaling(layer, *rescalings[0], images[0].get("RescaleType"))
        layer.SoftcopyVOILUTSequence = [_window(low, high)]
        return
    _set_rescaling(layer, 1, 0, None)
    windows = []
    for image, (slope, intercept) in zip(images, rescalings, strict=True):
        item = _window((low - intercept) / slope, (high - intercept) / slope)
        item.ReferencedImageSequence = [image_reference(image)]
        windows.append(item)
    layer.SoftcopyVOILUTSequence = windows


def _set_rescaling(layer: Dataset, slope: float, intercept: float, unit: str | None) -> None:
    layer.RescaleIntercept, layer.RescaleSlope = decimals((intercept, slope))
    layer.RescaleType = unit or "US"


def _rescaling(image: Dataset) -> tuple[float, float]:
    slope, intercept = image.get("RescaleSlope"), image.get("RescaleIntercept")
    return (
        1.0 if slope is None else float(slope),
        0.0 if intercept is None else float(intercept),
    )


def _window(low: float, high: float) -> Dataset:
    """DICOM's window (PS3.3, C.11.2.1.2.1) that is black at ``low`` and white at ``high``."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.WindowCenter, item.WindowWidth = decimals(((low + high + 1) / 2, high - low + 1))
    return item


def _place_of(registration: Dataset) -> Dataset:
    """Where an object lies: study, series, instance (PS3.3, table C.17-3)."""
    from pydicom.dataset import Dataset

    series = Dataset()
    series.SeriesInstanceUID = registration.SeriesInstanceUID
    series.ReferencedSOPSequence = [image_reference(registration)]
    place = Dataset()
    place.StudyInstanceUID = registration.StudyInstanceUID
    place.ReferencedSeriesSequence = [series]
    return place


def _whole_area(images: Sequence[Dataset]) -> Dataset:
    from pydicom.dataset import Dataset

    area = Dataset()
    area.ReferencedImageSequence = [image_reference(image) for image in images]
    area.DisplayedAreaTopLeftHandCorner = [1, 1]
    area.DisplayedAreaBottomRightHandCorner = [images[0].Columns, images[0].Rows]
    area.PresentationSizeMode = "SCALE TO FIT"
    area.PresentationPixelSpacing = list(images[0].PixelSpacing)
    return area


def _add_palette(dataset: Dataset, palette: np.ndarray) -> None:
    """A colour map of 256 entries of 16 bits (PS3.3, C.7.6.3.1.5 and C.7.6.3.1.6)."""
    entries = np.rint(palette * 65535).astype("<u2")
    for index, colour in enumerate(("Red", "Green", "Blue")):
        name = f"{colour}PaletteColorLookupTable"
        setattr(dataset, f"{name}Descriptor", [len(entries), 0, 16])
        dataset[f"{name}Descriptor"].VR = "US"
        setattr(dataset, f"{name}Data", entries[:, index].tobytes())
