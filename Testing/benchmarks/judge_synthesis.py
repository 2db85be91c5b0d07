"""The figures of docs/SYNTHESIS.md: judge_synthesis.py SHARED/data [WEIGHTS ...]

One slice of a patient who was scanned with T1 (and contrast medium), PD and T2, and SPM's templates
of T1 and T2 with a PD that is modelled from maps of tissue. The networks were trained on neither.
Weight files make whatever they were trained for; without any, the shipped ones are judged.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import SimpleITK
import torch

from MedFusionLib.evaluation.synthesis_scores import (
    head_of,
    score_error_map,
    scores_beside_copies,
)
from MedFusionLib.methods.hinet.weight_file import load_network
from MedFusionLib.slices.painting import GREY_MAXIMUM
from MedFusionLib.synthesis.slice_synthesis import SliceSynthesis
from MedFusionLib.synthesis.synthesise import signal_window
from MedFusionLib.training.data import read_luminance
from MedFusionLib.volumes.files import read_volume
from MedFusionLib.volumes.volume import Volume, to_image

TEMPLATE_BLUR = 8 / 2.355
"""Standard deviation in mm of SPM's smoothing, whose width at half height is 8 mm."""
PD_OF_TISSUES = (0.82, 0.77, 0.64)
"""Signal of grey matter, white matter and fluid for a repetition time of 2.6 s and no echo time."""
TEMPLATE_SLICES = slice(20, 70)


def patient(data: Path) -> dict[str, np.ndarray]:
    """T1, PD and T2 of the slice, (1, H, W) each, on the PD's grid."""
    folder = data / "harvard" / "CT-MRI" / "MRI"
    names = ("ifcnn_ct_010_MR-Gad.png", "ifcnn_ct_010_MR-Pd.png", "28010.png")
    t1, pd, t2 = (read_luminance(folder / name).astype(np.float32) for name in names)
    return {"T1": laid_on(pd, t1)[None], "PD": pd[None], "T2": laid_on(pd, t2)[None]}


def laid_on(fixed: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """The moving slice after an affine registration by mutual information."""
    one, two = SimpleITK.GetImageFromArray(fixed), SimpleITK.GetImageFromArray(moving)
    method = SimpleITK.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(48)
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, 300)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([3, 1, 0])
    start = SimpleITK.CenteredTransformInitializer(
        one,
        two,
        SimpleITK.AffineTransform(2),
        SimpleITK.CenteredTransformInitializerFilter.MOMENTS,
    )
    method.SetInitialTransform(start, True)
    method.Execute(one, two)
    moved = SimpleITK.Resample(two, one, start, SimpleITK.sitkLinear, 0.0)
    return SimpleITK.GetArrayFromImage(moved)


def templates(data: Path) -> dict[str, np.ndarray]:
    """T1, modelled PD and T2 of the templates' brains, (K, J, I) each, pixels of 1 mm."""
    folder = data / "volumes"
    t1, t2 = (read_volume(folder / f"spm12_OldNorm_{name}.nii") for name in ("T1", "T2"))
    grey, white, brain = (
        read_volume(folder / f"nilearn_icbm152_2009_{name}.nii.gz") for name in ("gm", "wm", "t1")
    )
    shares = [grey.voxels / np.float32(255), white.voxels / np.float32(255)]
    shares.append(np.clip(1 - shares[0] - shares[1], 0, 1) * (brain.voxels > 0))
    signal = sum(level * share for level, share in zip(PD_OF_TISSUES, shares, strict=True))
    sharp = SimpleITK.GetImageFromArray(signal.astype(np.float32))
    sharp.CopyInformation(to_image(brain))
    smooth = SimpleITK.SmoothingRecursiveGaussian(sharp, TEMPLATE_BLUR)
    inside = to_image(brain) > 0
    pd, mask = (SimpleITK.Resample(image, to_image(t1)) for image in (smooth, inside))
    images = [t1.voxels, SimpleITK.GetArrayFromImage(pd), t2.voxels]
    kept = SimpleITK.GetArrayFromImage(mask) > 0
    fine = (np.repeat(np.repeat((one * kept)[TEMPLATE_SLICES], 2, 1), 2, 2) for one in images)
    cut = (np.ascontiguousarray(one[:, :216, :176], dtype=np.float32) for one in fine)
    return dict(zip(("T1", "PD", "T2"), cut, strict=True))


def judge(name: str, images: dict[str, np.ndarray], weights: Path | None) -> None:
    network, _ = load_network(weights)
    trained = network.architecture
    shown = [images[sequence] for sequence in (*trained.inputs, trained.target)]
    volumes = [Volume(image, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), modality="MR") for image in shown]
    windows = [signal_window(volume) for volume in volumes]
    made, expected = (np.zeros(shown[0].shape, np.int16) for _ in range(2))
    covered = np.ones(made.shape, bool)
    cpu = torch.device("cpu")
    work = SliceSynthesis(network, cpu, windows[:2], *shown[:2], covered, made, expected)
    for index in range(len(made)):
        work([index])
    first, second, truth = (
        window.to_unit(image).astype(float) for window, image in zip(windows, shown, strict=True)
    )
    synthetic, error = made / GREY_MAXIMUM, expected / GREY_MAXIMUM
    inputs = dict(zip(trained.inputs, (first, second), strict=True))
    head = head_of([first, second])
    print(f"{trained.target} of {name}: {len(made)} slices")
    for row, scores in scores_beside_copies(truth, synthetic, inputs, head).items():
        print(f"  {row}: {rounded(asdict(scores))}")
    print(f"  error map: {rounded(asdict(score_error_map(truth, synthetic, error, head)))}")


def rounded(scores: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in scores.items()}


if __name__ == "__main__":
    shared_data = Path(sys.argv[1])
    heads = {"patient": patient(shared_data), "templates": templates(shared_data)}
    for file in [Path(name) for name in sys.argv[2:]] or [None]:
        for title, head in heads.items():
            judge(title, head, file)
