"""The rule by which a method of two sources fuses any number of other volumes with a reference.

What each of them alone would change in the reference is added up. So a lesion of any of them
arrives with the contrast that it has in a fusion of two, and their order makes no difference.
Where one of them is nearly white, as bone is in a CT, its own fusion with the reference is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from MedFusionLib.computing.slice_fusion import FusionMethod, MultiFusionMethod
from MedFusionLib.computing.volume_fusion import VolumeFusionMethod

if TYPE_CHECKING:
    from torch import Tensor

COMMON = 16.0
"""Pixels (standard deviation): light that several volumes add and that is smoother than this is
shown once, or the sum would reach white and flatten what lies in it."""
BRIGHT = (0.8, 0.95)
"""Values of the brightest other volume between which its own fusion takes over: there is no room
left to add to, and light that is taken away would turn bone grey."""
_COARSE = 4
"""Light is smoothed at a quarter of the size."""
_LEAST_SHARE = 0.02
"""Where nearly all around is bright, the little that is not gives no light."""


def for_several(method: FusionMethod) -> MultiFusionMethod:
    """The method itself where its formula is defined for any number of sources, else one that
    follows the rule of this module."""
    if isinstance(method, MultiFusionMethod):
        return method
    return SummedVolumes(method) if isinstance(method, VolumeFusionMethod) else SummedPairs(method)


class SummedPairs:
    """R + Σ dₖ - (Σ gₖ - max gₖ), with dₖ = fuse(R, Oₖ) - R and gₖ the smooth part of what dₖ
    brightens; where one of the others is nearly white, the brightest fuse(R, Oₖ)."""

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
        return self.joined(reference, others, fused)

    def joined(
        self, reference: Tensor, others: Sequence[Tensor], fused: Sequence[Tensor]
    ) -> Tensor:
        """One picture (N, 1, H, W) of the fusions with each of the others."""
        import torch

        from MedFusionLib.methods.blocks.smooth_step import smooth_step

        bright = smooth_step(torch.stack(list(others)).amax(dim=0), *BRIGHT)
        fusions = torch.stack(list(fused))
        changes = fusions - reference
        # Sorted first: floating-point sums depend on the order of their terms.
        added = reference + changes.sort(dim=0).values.sum(dim=0) - _common(changes, bright)
        return torch.lerp(added, fusions.amax(dim=0), bright).clamp(0, 1)


class SummedVolumes(SummedPairs):
    """The same of a method that sees volumes: its fusions are joined slice by slice."""

    def __init__(self, method: VolumeFusionMethod) -> None:
        super().__init__(method)
        self.window = method.window
        self._of_volumes = method

    def fuse_volume(self, reference: Tensor, other: Tensor) -> Tensor:
        """What the method makes of one other volume."""
        return self._of_volumes.fuse_volume(reference, other)


def _common(changes: Tensor, bright: Tensor) -> Tensor:
    """The light (N, 1, H, W) that all but the strongest of ``changes`` (K, N, 1, H, W) add at
    large, of what is not bright: bone would count as light that it gives to the brain beside it."""
    import torch

    from MedFusionLib.methods.weighted_bands import coarsely_smoothed

    dim = 1 - bright
    share = coarsely_smoothed(dim, COMMON, _COARSE).clamp(min=_LEAST_SHARE)
    added = (coarsely_smoothed(change.clamp(min=0) * dim, COMMON, _COARSE) for change in changes)
    lights = torch.stack([light / share for light in added])
    return lights.sort(dim=0).values[:-1].sum(dim=0)
