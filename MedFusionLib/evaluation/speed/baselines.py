"""The straightforward forms of both papers' networks, which ours are measured against.

They compute the same numbers from the same weights, the way the papers' formulas are read off:
ASFE-Fusion's soft mixture with its tokens-by-slots matrices in memory, and DM-FNet with all of
the UNet for one noisy image after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from MedFusionLib.methods.asfe.architecture import Architecture
from MedFusionLib.methods.asfe.experts import SpatialFrequencyExperts
from MedFusionLib.methods.asfe.network import ASFEFusion
from MedFusionLib.methods.dmfnet.config import DMFNetConfig
from MedFusionLib.methods.dmfnet.method import DMFNet
from MedFusionLib.methods.dmfnet.weights_file import StoredNetworks

Fuse = Callable[[Tensor, Tensor], Tensor]
"""Fuses slices (N, 1, H, W), reference and other."""


class MaterialisedExperts(nn.Module):
    """A soft mixture of experts with its logits and both of their softmaxes as matrices."""

    def __init__(self, lean: SpatialFrequencyExperts) -> None:
        super().__init__()
        self._lean = lean

    def forward(self, maps: Tensor) -> Tensor:
        """Like the lean form; takes three times tokens x slots numbers of memory."""
        lean = self._lean
        tokens = lean.token_norm(maps.flatten(2).transpose(1, 2))
        slots = lean.slot_norm(lean.slots)
        logits = torch.einsum("bnd,esd->bnes", tokens, slots)
        dispatch = logits.softmax(dim=1)
        combine = logits.flatten(2).softmax(dim=2)
        inputs = torch.einsum("bnd,bnes->besd", tokens, dispatch)
        answers = [expert(inputs[:, place]) for place, expert in enumerate(lean.experts)]
        mixed = combine @ torch.cat(answers, dim=1)
        return mixed.transpose(1, 2).unflatten(2, maps.shape[-2:])


class FullPasses(DMFNet):
    """DM-FNet with one UNet pass after the other and all features of each."""

    def _fuse_once(
        self, reference: Tensor, other: Tensor, slice_indices: Sequence[int], draw: int
    ) -> Tensor:
        noisy, levels = self._noisy(reference, other, slice_indices, draw)
        passes = 2 * len(self.config.time_steps)
        features = [
            self._unet.forward_with_features(image.contiguous(), level)[1]
            for image, level in zip(noisy.chunk(passes), levels.chunk(passes), strict=True)
        ]
        return self._output(self._head(features[::2], features[1::2]), reference, other)


def asfe_forms(architecture: Architecture, seed: int) -> dict[str, Callable[[], Fuse]]:
    """ASFE-Fusion with random weights: its straightforward form and ours, made when called."""

    def network() -> ASFEFusion:
        torch.manual_seed(seed)
        return ASFEFusion(architecture).eval().requires_grad_(False)

    def straightforward() -> Fuse:
        made = network()
        for fusion in made.fusions:
            fusion.mixture = MaterialisedExperts(cast(SpatialFrequencyExperts, fusion.mixture))
        return lambda reference, other: made(other, reference)

    def ours() -> Fuse:
        made = network().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return lambda reference, other: made(other, reference)

    return {"straightforward": straightforward, "ours": ours}


def dmfnet_forms(config: DMFNetConfig, seed: int) -> dict[str, Callable[[], Fuse]]:
    """DM-FNet with random weights: its straightforward form and ours, made when called."""

    def networks() -> StoredNetworks:
        torch.manual_seed(seed)
        return StoredNetworks(config.build_unet(), config.build_head(), config, "")

    def straightforward() -> Fuse:
        stored = networks()
        method = FullPasses(stored, torch.device("cpu"))
        for network in (stored.unet, stored.head):
            network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        return method.fuse

    return {
        "straightforward": straightforward,
        "ours": lambda: DMFNet(networks(), torch.device("cpu")).fuse,
    }
