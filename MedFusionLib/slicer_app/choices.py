"""What the panel's combo boxes offer: names that a scene stores, and words that a user reads.

Slicer's parameter node wrapper stores a choice by its name and asks ``label`` for its text. The
value of a choice is what ``MedFusionLib.fusion.fuse`` takes.
"""

from __future__ import annotations

from enum import Enum
from functools import cache

from MedFusionLib.slicer_app.translation import _


class Modality(Enum):
    """What kind of image a volume is."""

    AUTOMATIC = None
    MR = "MR"
    CT = "CT"
    PET = "PET"
    SPECT = "SPECT"

    @staticmethod
    def label(choice: Modality) -> str:
        """The words in the panel."""
        return choice.value or _("Automatic")


class Window(Enum):
    """Which stored values become black and white."""

    AUTOMATIC = "auto"
    DISPLAYED = "displayed"
    BRAIN = "brain"
    BONE = "bone"
    FULL = "full"
    PERCENTILE = "percentile"
    MAXIMUM = "maximum"
    SUV = "suv"
    STORED_8_BIT = "8bit"

    @staticmethod
    def label(choice: Window) -> str:
        """The words in the panel."""
        return _windowLabels()[choice]


class AlignmentChoice(Enum):
    """How the other volume comes onto the reference."""

    RESAMPLE = "resample"
    NONE = "none"
    RIGID = "rigid"
    AFFINE = "affine"
    DEFORMABLE = "deformable"
    TRANSFORM = "transform"

    @staticmethod
    def label(choice: AlignmentChoice) -> str:
        """The words in the panel."""
        return _alignmentChoiceLabels()[choice]


class Plane(Enum):
    """Along which of the patient's planes slices are fused."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"

    @staticmethod
    def label(choice: Plane) -> str:
        """The words in the panel."""
        return _planeLabels()[choice]


class Planes(Enum):
    """Along how many of the patient's planes is fused."""

    ONE = "one"
    THREE = "three"

    @staticmethod
    def label(choice: Planes) -> str:
        """The words in the panel."""
        return _planesLabels()[choice]


class Grid(Enum):
    """On which grid is fused."""

    REFERENCE = "reference"
    ISOTROPIC = "isotropic"
    FINEST = "finest"

    @staticmethod
    def label(choice: Grid) -> str:
        """The words in the panel."""
        return _gridLabels()[choice]


class Refinement(Enum):
    """What fills a finer grid between the measured slices."""

    INTERPOLATION = "interpolation"
    NETWORK = "network"

    @staticmethod
    def label(choice: Refinement) -> str:
        """The words in the panel."""
        return _refinementLabels()[choice]


class Colour(Enum):
    """How the fused volume is colored."""

    AUTOMATIC = "auto"
    GREY = "grey"
    RAINFOREST = "rainforest"
    HOT = "hot"
    RAINBOW = "rainbow"
    PET_DICOM = "pet-dicom"
    RED = "red"
    BLUE = "blue"

    @staticmethod
    def label(choice: Colour) -> str:
        """The words in the panel."""
        return _colourLabels()[choice]


# Kept, because Slicer asks for a choice's words again and again and looks up each one anew.


@cache
def _windowLabels() -> dict[Window, str]:
    return {
        Window.AUTOMATIC: _("Automatic for the modality"),
        Window.DISPLAYED: _("As displayed"),
        Window.BRAIN: _("CT brain (L 40, W 80 HU)"),
        Window.BONE: _("CT bone (L 400, W 2000 HU)"),
        Window.FULL: _("Full range"),
        Window.PERCENTILE: _("Percentiles inside the head"),
        Window.MAXIMUM: _("Zero to maximum"),
        Window.SUV: _("SUV 0 to 10"),
        Window.STORED_8_BIT: _("8 bit as stored"),
    }


@cache
def _alignmentChoiceLabels() -> dict[AlignmentChoice, str]:
    return {
        AlignmentChoice.RESAMPLE: _("Positions are right: resample"),
        AlignmentChoice.NONE: _("None: both on one grid"),
        AlignmentChoice.RIGID: _("Rigid registration"),
        AlignmentChoice.AFFINE: _("Affine registration"),
        AlignmentChoice.DEFORMABLE: _("Rigid, then bent (deformable)"),
        AlignmentChoice.TRANSFORM: _("Existing transform"),
    }


@cache
def _planeLabels() -> dict[Plane, str]:
    return {
        Plane.AXIAL: _("Axial"),
        Plane.CORONAL: _("Coronal"),
        Plane.SAGITTAL: _("Sagittal"),
    }


@cache
def _planesLabels() -> dict[Planes, str]:
    return {
        Planes.ONE: _("One, chosen above"),
        Planes.THREE: _("All three, their mean"),
    }


@cache
def _gridLabels() -> dict[Grid, str]:
    return {
        Grid.REFERENCE: _("As measured: the reference's"),
        Grid.ISOTROPIC: _("Isotropic: its smallest step"),
        Grid.FINEST: _("Finest: smallest step of all"),
    }


@cache
def _refinementLabels() -> dict[Refinement, str]:
    return {
        Refinement.INTERPOLATION: _("Interpolation (B-splines)"),
        Refinement.NETWORK: _("Network (MR alone)"),
    }


@cache
def _colourLabels() -> dict[Colour, str]:
    return {
        Colour.AUTOMATIC: _("Automatic for the modality"),
        Colour.GREY: _("Grayscale"),
        Colour.RAINFOREST: _("Color: rainforest"),
        Colour.HOT: _("Color: hot"),
        Colour.RAINBOW: _("Color: rainbow"),
        Colour.PET_DICOM: _("Color: PET-DICOM"),
        Colour.RED: _("Color: red"),
        Colour.BLUE: _("Color: blue"),
    }
