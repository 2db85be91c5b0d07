"""The errors MedFusion raises on purpose.

Each message is a whole sentence for the person at the screen: what is wrong and what to do.
The panel and the command line print that sentence and no traceback.
"""


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
