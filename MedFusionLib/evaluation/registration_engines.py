"""The ways of registering that a study compares: MedFusion's, and elastix's (an extra of tests).

Each takes two volumes and a seed and gives the transform from reference to other space (LPS, mm),
and where it has one, a verdict and a residual in mm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import SimpleITK

from MedFusionLib.errors import InputError
from MedFusionLib.registration.align import align
from MedFusionLib.slices.colour import luminance
from MedFusionLib.volumes.volume import Volume


class Registered(NamedTuple):
    """What an engine found; ``verdict`` is empty and ``residual`` NaN where it judges nothing."""

    transform: SimpleITK.Transform
    verdict: str = ""
    residual: float = float("nan")


Engine = Callable[[Volume, Volume, int], Registered]


def by_medfusion(reference: Volume, other: Volume, seed: int) -> Registered:
    """``align`` with its quality."""
    found = align(reference, other, seed=seed)
    return Registered(found.transform, found.quality.verdict, found.quality.evidence.residual_mm)


def by_elastix(reference: Volume, other: Volume, seed: int) -> Registered:
    """elastix's own rigid settings (Mattes mutual information, four resolutions), from centre of
    mass on centre of mass.

    Klein et al., IEEE TMI 29:196–205, 2010. Raises ``InputError`` where itk-elastix is missing.
    """
    itk = _itk()
    parameters = itk.ParameterObject.New()
    rigid = parameters.GetDefaultParameterMap("rigid")
    rigid["AutomaticTransformInitialization"] = ["true"]
    rigid["AutomaticTransformInitializationMethod"] = ["CenterOfGravity"]
    rigid["RandomSeed"] = [str(seed + 1)]
    parameters.AddParameterMap(rigid)
    _, result = itk.elastix_registration_method(
        _image(itk, reference), _image(itk, other), parameter_object=parameters
    )
    found = result.GetParameterMap(0)
    transform = SimpleITK.Euler3DTransform()
    transform.SetComputeZYX(found.get("ComputeZYX", ["false"])[0] == "true")
    transform.SetCenter([float(value) for value in found["CenterOfRotationPoint"]])
    transform.SetParameters([float(value) for value in found["TransformParameters"]])
    return Registered(transform)


def _itk() -> Any:
    try:
        import itk

        itk.elastix_registration_method  # noqa: B018
    except (ImportError, AttributeError) as error:
        raise InputError(
            "The comparison needs the package itk-elastix, which is not installed. Install it "
            "with: pip install itk-elastix."
        ) from error
    return itk


def _image(itk: Any, volume: Volume) -> Any:
    voxels = volume.voxels.astype(np.float32)
    image = itk.image_from_array(luminance(voxels) if volume.is_colour else voxels)
    image.SetSpacing(list(volume.spacing))
    image.SetOrigin(list(volume.origin))
    image.SetDirection(itk.matrix_from_array(np.ascontiguousarray(volume.direction_matrix)))
    return image


ENGINES: dict[str, Engine] = {"medfusion": by_medfusion, "elastix": by_elastix}
