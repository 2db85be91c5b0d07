"""The score that chooses a checkpoint: how much of both sources the fused slices keep."""

from __future__ import annotations

from torch import Tensor

from MedFusionLib.training import losses


def fidelity(fused: Tensor, reference: Tensor, other: Tensor) -> dict[str, Tensor]:
    """Edge preservation, VIF, SSIM, SCD and correlation, each (N,), higher is better.

    VIF, SSIM and correlation are means over the two sources; SCD is halved, so that every part
    has a scale of about 1.
    """
    sources = (reference, other)
    return {
        "edges": losses.edge_preservation(fused, reference, other),
        "information": _mean(
            losses.visual_information_fidelity(source, fused) for source in sources
        ),
        "similarity": _mean(losses.structural_similarity(fused, source) for source in sources),
        "differences": losses.difference_correlation(fused, reference, other) / 2,
        "correlation": _mean(losses.correlation(fused, source) for source in sources),
    }


def _mean(scores) -> Tensor:  # type: ignore[no-untyped-def]
    first, second = scores
    return (first + second) / 2
