"""TFS-Diff behind the interface that every fusion method has, for two or three sources."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from MedFusionLib.errors import InputError
from MedFusionLib.methods import method_card, refuse_too_many
from MedFusionLib.methods.dmfnet.method import channels_last
from MedFusionLib.methods.dmfnet.noise import Source, noise_generator
from MedFusionLib.methods.tfs_diff.architecture import SOURCES
from MedFusionLib.methods.tfs_diff.network import TFSDiff
from MedFusionLib.methods.tfs_diff.weight_file import METHOD, load_network


class TFSDiffMethod:
    """Fuses slices by drawing them from noise with a denoiser that sees all sources.

    Args:
        network: the denoiser.
        weights_sha256: digest of its file.
        device: where it runs.
        steps: of each drawing; at least 1. None: as many as the network needs.
        seed: of the noise; not negative.
    """

    name = METHOD

    def __init__(
        self,
        network: TFSDiff,
        weights_sha256: str,
        device: torch.device,
        steps: int | None = None,
        seed: int = 0,
    ) -> None:
        self.architecture = network.architecture
        total = self.architecture.n_timestep
        steps = self.architecture.usual_steps if steps is None else steps
        if seed < 0 or not 1 <= steps <= total:
            raise ValueError(
                f"TFS-Diff needs a seed of at least 0 and 1 to {total} steps, not seed {seed} and "
                f"{steps} steps."
            )
        self.stride = self.architecture.stride
        self.weights_sha256 = weights_sha256
        self.steps, self.seed = steps, seed
        self._network = channels_last(network.eval().requires_grad_(False).to(device))

    def fuse(
        self, reference: Tensor, other: Tensor, slice_indices: Sequence[int] | None = None
    ) -> Tensor:
        """Return the fused slices (N, 1, H, W) in [0, 1]; the third source is not there.

        Args:
            reference: anatomical slices (N, 1, H, W) in [0, 1], H and W multiples of ``stride``.
            other: slices of the second image, alike.
            slice_indices: not needed; all slices of a volume begin with the same noise.

        Raises:
            InputError: for weights that know no absent source, such as the authors'.
        """
        if not self.architecture.knows_absence:
            raise InputError(
                "These weights of 'tfs-diff' fuse three volumes and know no absent one. Give a "
                "third volume, or use the shipped weights."
            )
        sources = torch.cat([reference, other, torch.zeros_like(other)], dim=1)
        return self._fused(sources, [True, True, False])

    def fuse_many(
        self,
        reference: Tensor,
        others: Sequence[Tensor],
        slice_indices: Sequence[int] | None = None,
    ) -> Tensor:
        """As ``fuse``, with two others; the mean over both of their orders.

        Raises:
            InputError: for more than two others.
        """
        refuse_too_many(method_card(METHOD), len(others) + 1)
        first, second = others
        drawn = [
            self._fused(torch.cat([reference, *ordered], dim=1), [True] * SOURCES)
            for ordered in ((first, second), (second, first))
        ]
        return (drawn[0] + drawn[1]) / 2

    @torch.inference_mode()
    def _fused(self, sources: Tensor, present: list[bool]) -> Tensor:
        # One slice fills a CPU, and has the same bits then in whatever batch it came.
        size = 1 if sources.device.type == "cpu" else len(sources)
        return torch.cat([self._draw(part, present) for part in sources.split(size)])

    def _draw(self, sources: Tensor, present: list[bool]) -> Tensor:
        flags = torch.tensor([present], device=sources.device).expand(len(sources), -1)
        diffusion = self._network.diffusion(sources, flags)
        *_, drawn = diffusion.ddim_steps(self._noise(sources), self.steps)
        shown = self._network.output.shown(drawn.float(), sources)
        return shown * (sources.amax(1, keepdim=True) > 0)

    def _noise(self, sources: Tensor) -> Tensor:
        """The noise that a drawing begins with, the same for every slice: (N, colours, H, W)."""
        generator = noise_generator(self.seed, 0, self.architecture.n_timestep, Source.REFERENCE, 0)
        size = (1, self.architecture.colours, *sources.shape[-2:])
        noise = torch.randn(size, generator=generator).to(sources)
        return noise.expand(len(sources), -1, -1, -1)


def create(
    device: torch.device, weights: str | Path | None = None, steps: int | None = None, seed: int = 0
) -> TFSDiffMethod:
    """The method with its shipped weights, or with a file of training or ``import-weights``.

    Args:
        device: where the denoiser runs.
        weights: another weight file.
        steps: of each drawing; 5 unless given, and 20 of a network that predicts noise.
        seed: of the noise; the same seed gives the same result.

    Raises:
        WeightsError: if the file is missing, damaged or fits no TFS-Diff.
        ValueError: for a negative seed or an impossible number of steps.
    """
    return TFSDiffMethod(*load_network(weights), device, steps, seed)
