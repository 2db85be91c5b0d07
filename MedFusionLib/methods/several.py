"""The rule by which a method of two sources fuses any number of other volumes with a reference.

What each of them alone would change in the reference is added up. So a lesion of any of them
arrives with the contrast that it has in a fusion of two, and their order makes no difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from MedFusionLib.computing.slice_fusion import FusionMethod, MultiFusionMethod
from MedFusionLib.computing.volume_fusion import VolumeFusionMethod

if TYPE_CHECKING:
    from torch import Tensor

COMMON = 30.0
"""Pixels (standard deviation): light that several volumes add and that is smoother than this is
shown once, or the sum would reach white and flatten what lies in it."""


def for_several(method: FusionMethod) -> MultiFusionMethod:
    """The method itself where its formula is defined for any number of sources, else one that
    follows the rule of this module."""
    if isinstance(method, MultiFusionMethod):
        return method
    return SummedVolumes(method) if isinstance(method, VolumeFusionMethod) else SummedPairs(method)


class SummedPairs:
    """R + Σ dₖ - (Σ gₖ - max gₖ), with dₖ = fuse(R, Oₖ) - R and gₖ the smooth part of what dₖ
    brightens."""

    def __init__(self, method: FusionMethod) -> None:
        self.name, self.stride = method.name, method.stride
        self.weights_sha256 = getattr(method, "weights_sha256", None)
        self.seed = getattr(method, "seed", None)
        self._method = method

    def fuse(
        self, reference: Tensor, other: Tensor, slice_indices: Sequence[int] | None = None
    ) -> Tensor:
        """What the method makes of one other volume."""
        return self._method.fuse(reference, other, slice_indices)

    def fuse_many(
        self,
        reference: Tensor,
        others: Sequence[Tensor],
        slice_indices: Sequence[int] | None = None,
    ) -> Tensor:
        """Fuse (N, 1, H, W) in [0, 1] with two or more others of that shape."""
        fused = [self._method.fuse(reference, other, slice_indices) for other in others]
        return self.joined(reference, fused)

    def joined(self, reference: Tensor, fused: Sequence[Tensor]) -> Tensor:
        """One picture (N, 1, H, W) of the fusions with each other volume."""
        import torch

        from MedFusionLib.methods.weighted_bands import gaussian

        changes = torch.stack([one - reference for one in fused])
        brightened = torch.stack([gaussian(change.clamp(min=0), COMMON) for change in changes])
        # Sorted first: floating-point sums depend on the order of their terms.
        change = changes.sort(dim=0).values.sum(dim=0)
        common = brightened.sort(dim=0).values[:-1].sum(dim=0)
        return (reference + change - common).clamp(0, 1)


class SummedVolumes(SummedPairs):
    """The same of a method that sees volumes: its fusions are joined slice by slice."""

    def __init__(self, method: VolumeFusionMethod) -> None:
        super().__init__(method)
        self.window = method.window
        self._of_volumes = method

    def fuse_volume(self, reference: Tensor, other: Tensor) -> Tensor:
        """What the method makes of one other volume."""
        return self._of_volumes.fuse_volume(reference, other)
