"""PyTorch and what else a fusion needs inside Slicer: looked for, and installed after asking."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from pathlib import Path

import slicer

from MedFusionLib.errors import MedFusionError
from MedFusionLib.slicer_app.translation import _

TORCH_REQUIREMENT = ">=2.2"


class MissingPackageError(MedFusionError):
    """A package is not installed, and the user did not want it or it could not be had."""


def torchInstalled() -> bool:
    """Whether torch can be imported, without importing it; quick enough for every refresh."""
    spec = find_spec("torch")
    # An uninstalled package may leave its empty folder behind, which has no origin.
    return spec is not None and spec.origin is not None


def bendingInstalled() -> bool:
    """Whether the package of the deformable alignment is there, without importing it."""
    spec = find_spec("convexAdam")
    return spec is not None and spec.origin is not None


def ensureTorch() -> bool:
    """Install torch through the PyTorch extension, after asking; whether it was installed now.

    Raises ``MissingPackageError`` when the extension is missing or the user declines.
    """
    if torchInstalled():
        return False
    try:
        import PyTorchUtils
    except ImportError as error:
        raise MissingPackageError(
            _(
                "Fusion needs PyTorch. Install the extension 'PyTorch' in Slicer's Extensions "
                "Manager, restart Slicer, and press Apply again."
            )
        ) from error
    logic = PyTorchUtils.PyTorchUtilsLogic()
    installed = logic.installTorch(askConfirmation=True, torchVersionRequirement=TORCH_REQUIREMENT)
    if installed is None:
        raise MissingPackageError(_("Fusion needs PyTorch, which was not installed."))
    importlib.invalidate_caches()
    return True


def ensureRequirements(path: str | Path) -> None:
    """Install what a requirements file asks for, after asking; quick when all is there."""
    try:
        import slicer.packaging as packaging
    except ImportError:
        _pipInstallMissing(Path(path))
        return
    try:
        packaging.pip_ensure(packaging.load_requirements(path), requester="MedFusion")
    except RuntimeError as error:
        raise MissingPackageError(str(error)) from error


def _pipInstallMissing(path: Path) -> None:
    """For Slicer 5.10, which has no ``slicer.packaging``."""
    from packaging.requirements import Requirement

    lines = [line.strip() for line in path.read_text().splitlines()]
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    missing = [needed for needed in requirements if not _isInstalled(needed)]
    if not missing:
        return
    names = ", ".join(str(needed) for needed in missing)
    if not slicer.util.confirmOkCancelDisplay(
        _("MedFusion needs these Python packages: {names}. Install them now?").format(names=names)
    ):
        raise MissingPackageError(
            _("Fusion needs {names}, which was not installed.").format(names=names)
        )
    for needed in missing:
        slicer.util.pip_install(str(needed))


def _isInstalled(needed) -> bool:
    # Takes longer to import than the panel should take to open.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return needed.specifier.contains(version(needed.name))
    except PackageNotFoundError:
        return False
