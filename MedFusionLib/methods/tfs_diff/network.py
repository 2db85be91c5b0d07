"""The denoiser of TFS-Diff: a UNet that sees three sources beside the noisy fused image.

After the MICCAI 2024 paper, arXiv 2404.17357: the UNet is SR3's, told the noise level; attention
weighs the channels of the sources and of the noisy image before it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from MedFusionLib.methods.blocks.channel_attention import ChannelAttention
from MedFusionLib.methods.blocks.sizes import refuse_other_sizes
from MedFusionLib.methods.dmfnet.diffusion import TARGETS, Diffusion
from MedFusionLib.methods.tfs_diff.architecture import Architecture
from MedFusionLib.methods.tfs_diff.outputs import build_output


class TFSDiff(nn.Module):
    """Predicts the noise, or gains on the sources' bands, from sources and noisy fused images."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.channel_attention = ChannelAttention(architecture.channels, architecture.squeeze)
        self.output = build_output(architecture)
        self.unet = architecture.build_unet(self.output.channels)
        if architecture.knows_absence:
            self.absent = nn.Parameter(torch.zeros(1))

    def forward(self, condition: Tensor, noisy: Tensor, noise_level: Tensor) -> Tensor:
        """The network's maps at ``1 / fold`` of the size.

        Args:
            condition: the sources one behind the other (N, 3 · colours, H, W) in [-1, 1].
            noisy: the noisy fused images (N, colours, H, W).
            noise_level: (N, 1), the factor of the clean image in ``noisy``.
        """
        seen = torch.cat([condition, noisy], dim=1)
        weighed = seen * torch.sigmoid(self.channel_attention(seen))
        return self.unet(F.pixel_unshuffle(weighed, self.architecture.fold), noise_level)

    def condition(self, sources: Tensor, present: Tensor) -> Tensor:
        """What the network is told of sources (N, 3, H, W) in [0, 1].

        ``present`` (N, 3) is False for a source that is not there; the network must know absence.
        """
        condition = 2 * sources - 1
        if self.architecture.knows_absence:
            condition = torch.where(present[..., None, None], condition, self.absent)
        return condition.repeat_interleave(self.architecture.colours, dim=1)

    def diffusion(self, sources: Tensor, present: Tensor) -> Diffusion:
        """Drawing fused images of these sources; arguments as :meth:`condition` has them.

        Raises ``ValueError`` for sizes that are no multiples of the architecture's stride.
        """
        refuse_other_sizes("TFS-Diff", sources, self.architecture.stride)
        condition = self.condition(sources, present)
        denoiser = self.output.denoiser(lambda noisy, level: self(condition, noisy, level), sources)
        schedule = self.architecture.build_schedule()
        return Diffusion(denoiser, schedule, TARGETS[self.output.target])
