"""The errors MedFusion raises on purpose.

Each message is a whole sentence for the person at the screen: what is wrong and what to do.
The panel and the command line print that sentence and no traceback.
"""

from __future__ import annotations

from pathlib import Path


class MedFusionError(Exception):
    """Base of every error whose message is meant for the user."""


class Cancelled(MedFusionError):
    """The user stopped the run; nothing was written."""


class InputError(MedFusionError):
    """A file or a volume cannot be used as it is."""


class GeometryError(MedFusionError):
    """Two volumes do not lie on each other in space."""


class IdentityError(MedFusionError):
    """Two volumes are of different patients, as their headers tell."""


class UnknownMethodError(MedFusionError):
    """No fusion method has this name."""


class DeviceError(MedFusionError):
    """The asked device does not exist or cannot do the work."""


class WeightsError(MedFusionError):
    """A weight file is missing, changed or does not fit the network."""


class RegistrationError(MedFusionError):
    """Two volumes could not be laid on each other with confidence."""


PACKAGE = Path(__file__).resolve().parent


def sentence_of(error: BaseException) -> str | None:
    """What to tell the user of an error, or None where it is a bug of MedFusion.

    A ``ValueError`` is meant for the user if MedFusion itself raised it; one from a library is a
    surprise like any other.
    """
    if isinstance(error, MedFusionError) or (isinstance(error, ValueError) and _raised_here(error)):
        return str(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return (
            "Memory ran out. Close other programs, or take a smaller volume or fewer slices at "
            "once (--batch-size 1)."
        )
    if isinstance(error, OSError):
        place = f": '{error.filename}'" if error.filename else ""
        return f"{error.strerror or last_line(error)}{place}."
    return None


def last_line(error: BaseException) -> str:
    """The end of an error's own text, where libraries that put more into it say what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" .")]
    return lines[-1].rstrip(".") if lines else type(error).__name__


def _raised_here(error: BaseException) -> bool:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and PACKAGE in Path(trace.tb_frame.f_code.co_filename).parents
