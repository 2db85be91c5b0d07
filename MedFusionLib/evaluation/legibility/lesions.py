"""Lesions that only one source shows: where they are put, and how.

A lesion is amplitude · exp(-r² / 2σ²), cut at r = 3σ. Several are put into a slice at once, far
enough apart that none reaches another. Slices are (H, W) in [0, 1].
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.ndimage

SEED = 20261127
AMPLITUDES = (0.25, -0.25, 0.10, -0.10)
"""Of the window; positive is bright."""
BORDER = 40
"""Pixels between a lesion's centre and the border of the image."""
LIT = 0.12
"""Lesions lie where the brighter source is above this."""
LEAST, MOST = 0.02, 0.98
"""What a source's mean around the centre plus the amplitude must stay between."""
SATURATED = 0.85
"""Ground on which the other source's mean is above this cannot show both contrasts."""
HOT = 0.5
"""The other source's mean from which a lesion of the MR lies in a hot region."""
WINDOW = 9
CUT = 3.0
"""Where the profile ends, in σ."""
OPEN_GROUND, SATURATED_GROUND = "open", "saturated"


@dataclass(frozen=True)
class SizeClass:
    """Lesions of one size: σ is drawn evenly from `sigma`, centres are `apart` from each other.

    All in pixels; of balls in a volume, in millimetres.
    """

    name: str
    sigma: tuple[float, float]
    apart: float


SIZES = (SizeClass("small", (2.0, 4.0), 45.0), SizeClass("large", (5.0, 9.0), 90.0))


@dataclass(frozen=True)
class Lesion:
    """One lesion and the ground that it lies on."""

    row: int
    column: int
    sigma: float
    ground: str
    hot: bool
    """Whether the other source is bright here (mean above `HOT`)."""

    def box(self) -> tuple[slice, slice]:
        """Rows and columns of all that it covers."""
        reach = int(CUT * self.sigma)
        return (
            slice(self.row - reach, self.row + reach + 1),
            slice(self.column - reach, self.column + reach + 1),
        )

    def profile(self) -> np.ndarray:
        """Its shape in `box`, 1 at the centre; float32."""
        return ball_profile(_squared_distances(self.sigma), self.sigma)


@dataclass(frozen=True)
class Variant:
    """A pair of slices with lesions of one kind in one of them."""

    in_reference: bool
    amplitude: float
    size: str
    lesions: tuple[Lesion, ...]
    source: np.ndarray
    """The changed slice, kept to [0, 1]."""


def ball_profile(squared: np.ndarray, sigma: float) -> np.ndarray:
    """exp(-r² / 2σ²) of squared distances, 0 beyond 3σ; float32."""
    inside = squared <= (CUT * sigma) ** 2
    return np.where(inside, np.exp(-squared / (2 * sigma**2)), 0).astype(np.float32)


def _squared_distances(sigma: float) -> np.ndarray:
    """From the centre to each pixel of a lesion's box."""
    steps = np.arange(-int(CUT * sigma), int(CUT * sigma) + 1)
    return steps[:, None] ** 2 + steps[None, :] ** 2


def variants(reference: np.ndarray, other: np.ndarray, key: str) -> Iterator[Variant]:
    """The pair with lesions: in either source, of each amplitude and size; those that fit.

    ``key`` names the pair. The places depend on it and on `SEED` alone, so that all methods get
    the same lesions whichever pairs are judged.
    """
    for in_reference in (True, False):
        source, beside = (reference, other) if in_reference else (other, reference)
        for amplitude in AMPLITUDES:
            for size in SIZES:
                name = f"{key} {in_reference} {amplitude} {size.name}"
                generator = np.random.default_rng([SEED, zlib.crc32(name.encode())])
                lesions = place_lesions(source, beside, amplitude, size, generator)
                if lesions:
                    changed = insert(source, lesions, amplitude)
                    yield Variant(in_reference, amplitude, size.name, tuple(lesions), changed)


def place_lesions(
    source: np.ndarray,
    beside: np.ndarray,
    amplitude: float,
    size: SizeClass,
    generator: np.random.Generator,
) -> list[Lesion]:
    """Lesions for ``source``, drawn evenly from the places that allow one until none is left.

    ``beside`` is the source that does not get them.
    """
    around, ground = local_mean(source), local_mean(beside)
    free = np.zeros(source.shape, bool)
    inner = (slice(BORDER, -BORDER), slice(BORDER, -BORDER))
    raised = around + amplitude
    allowed = (np.maximum(source, beside) > LIT) & (raised > LEAST) & (raised < MOST)
    free[inner] = allowed[inner]
    lesions = []
    for row, column in spread_out(free, size.apart, generator):
        saturated = ground[row, column] > SATURATED
        lesions.append(
            Lesion(
                row,
                column,
                float(generator.uniform(*size.sigma)),
                SATURATED_GROUND if saturated else OPEN_GROUND,
                bool(ground[row, column] > HOT),
            )
        )
    return lesions


def spread_out(
    free: np.ndarray, apart: float, generator: np.random.Generator
) -> Iterator[tuple[int, int]]:
    """Places drawn evenly from those that are free and ``apart`` from all drawn before."""
    rows, columns = np.nonzero(free)
    while rows.size:
        chosen = int(generator.integers(rows.size))
        row, column = int(rows[chosen]), int(columns[chosen])
        yield row, column
        far = (rows - row) ** 2 + (columns - column) ** 2 >= apart**2
        rows, columns = rows[far], columns[far]


def insert(source: np.ndarray, lesions: list[Lesion], amplitude: float) -> np.ndarray:
    """The slice with all lesions added, kept to [0, 1]."""
    changed = source.astype(np.float32, copy=True)
    for lesion in lesions:
        changed[lesion.box()] += np.float32(amplitude) * lesion.profile()
    return np.clip(changed, 0, 1)


def local_mean(image: np.ndarray) -> np.ndarray:
    """Mean over 9×9 pixels."""
    return scipy.ndimage.uniform_filter(image, WINDOW)
