"""What is known of a series without its pixels, and whose series belong together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from MedFusionLib.volumes.identity import patient_key


@dataclass(frozen=True)
class SeriesFacts:
    """One series or volume. Texts are empty and numbers 0 where nobody tells."""

    key: str
    """By which whoever asks finds it again: a node's ID, a series' UID."""
    name: str
    """As a reader knows it."""
    description: str = ""
    """As the scanner calls it, if the name is another one; rules look for words in both."""
    modality: str = "unknown"
    """MR, CT, PET, SPECT or unknown."""
    identity: Mapping[str, str] = field(default_factory=dict)
    """Under the names of ``volumes.identity``."""
    study_uid: str = ""
    study_date: str = ""
    """YYYYMMDD."""
    subject: str = ""
    """To whom a user has assigned it, where DICOM does not tell."""
    frame_of_reference_uid: str = ""
    shape: tuple[int, int, int] = (0, 0, 0)
    """K, J, I."""
    spacing: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """I, J, K in mm."""
    image_type: tuple[str, ...] = ()
    manufacturer: str = ""
    acquisition: str = ""
    """MR Acquisition Type: 2D or 3D."""
    contrast_agent: str = ""
    corrections: tuple[str, ...] = ()
    """Corrected Image, of nuclear medicine."""
    series_type: tuple[str, ...] = ()
    """Series Type, of PET."""
    is_fused: bool = False
    """Whether MedFusion has made it."""
    is_colour: bool = False
    refusal: str | None = None
    """Why it cannot be fused, as a sentence."""

    @property
    def person(self) -> tuple[str, ...] | None:
        """Equal for two series of one patient only; None where nobody tells whose it is.

        Patient ID, name and birth date, as Slicer's DICOM database tells patients apart; without
        them the study, which is always of one patient, or whom a user has assigned it to.
        """
        told = patient_key(self.identity)
        if told is not None:
            return ("patient", *told)
        if self.study_uid:
            return ("study", self.study_uid)
        return ("subject", self.subject) if self.subject else None

    @property
    def voxel_volume(self) -> float:
        """mm³; infinite where nobody tells."""
        i, j, k = self.spacing
        return i * j * k if min(self.spacing) > 0 else float("inf")

    @property
    def extent(self) -> float:
        """mm³ that its grid covers; 0 where nobody tells."""
        k, j, i = self.shape
        return k * j * i * self.voxel_volume if min(self.spacing) > 0 else 0.0


@dataclass(frozen=True)
class Patient:
    """Series of one patient; there is no Patient of two."""

    series: tuple[SeriesFacts, ...]

    def __post_init__(self) -> None:
        people = {one.person for one in self.series}
        if len(people) != 1 or None in people:
            raise ValueError("These series are not said to be of one patient.")

    @property
    def person(self) -> tuple[str, ...] | None:
        """What tells the patient from others."""
        return self.series[0].person


def patients_of(series: Iterable[SeriesFacts]) -> tuple[list[Patient], list[SeriesFacts]]:
    """The patients in the order in which they are met, and the series of nobody knows whom."""
    known: dict[tuple[str, ...], list[SeriesFacts]] = {}
    unknown = []
    for one in series:
        if one.person is None:
            unknown.append(one)
        else:
            known.setdefault(one.person, []).append(one)
    return [Patient(tuple(found)) for found in known.values()], unknown
