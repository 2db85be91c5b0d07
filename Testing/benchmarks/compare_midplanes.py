"""Do two volumes of one head have the same plane of symmetry?

    python Testing/benchmarks/compare_midplanes.py MR.nii.gz PET.nii.gz

Each volume alone is registered, by correlation, to its own mirror image; half of that rigid
transform is the tilt and the place of its mid-plane. No intensity of one volume is compared with
the other's, so this tells independently of mutual information whether a pair that is taken for
aligned really is. Where a disease makes the brain asymmetric, the plane is less certain.
"""

from __future__ import annotations

import sys

import numpy as np
import SimpleITK

from MedFusionLib.registration.images import mirrored, see_head, shrink
from MedFusionLib.volumes.files import read_volume


def midplane(path: str) -> tuple[float, float, float]:
    """Roll and yaw of the mid-plane in degrees, and its place along x (LPS) in mm."""
    head = see_head(read_volume(path), path)
    image = mirrored(head).image
    method = SimpleITK.ImageRegistrationMethod()
    method.SetMetricAsCorrelation()
    method.SetMetricFixedMask(head.skin)
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetInitialTransform(SimpleITK.Euler3DTransform(head.centre), inPlace=False)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 0.02, 200, 0.85, 1e-8)
    found = method.Execute(shrink(head.image, 3.0), shrink(image, 3.0))
    _, roll, yaw, shift, _, _ = found.GetParameters()
    # The way to the mirror image is minus twice the tilt; the mirror stands at the head's centre.
    return -np.degrees(roll) / 2, -np.degrees(yaw) / 2, head.centre[0] - shift / 2


if __name__ == "__main__":
    for file in sys.argv[1:]:
        roll, yaw, place = midplane(file)
        print(f"{file}: roll {roll:.2f}°, yaw {yaw:.2f}°, at x = {place:.2f} mm")
