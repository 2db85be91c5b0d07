"""DM-FNet as a fusion method: both stages, run on batches of slices."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from MedFusionLib.methods.dmfnet.config import DMFNetConfig
from MedFusionLib.methods.dmfnet.diffusion import add_noise
from MedFusionLib.methods.dmfnet.noise import Source, slice_noise
from MedFusionLib.methods.dmfnet.weights_file import StoredNetworks, read_shipped, read_weights

Network = TypeVar("Network", bound=torch.nn.Module)

SMALLEST_COARSE_SIDE = 4
"""The spatial attention mirrors three pixels at the coarsest scale, which takes four."""

LARGE_MAPS = 2**23
"""Values of one of the UNet's maps in all passes; fewer are as fast, or faster, all at once."""


class DMFNet:
    """Fuses slices with a trained DM-FNet.

    Args:
        networks: both networks, their configuration and the digest of their file.
        device: where they run.
        seed: of all noise; not negative.
        draws: how many noise draws are averaged; at least 1.
    """

    name = "dmfnet"

    def __init__(
        self, networks: StoredNetworks, device: torch.device, seed: int = 0, draws: int = 1
    ) -> None:
        if seed < 0 or draws < 1:
            raise ValueError(
                f"DM-FNet needs a seed of at least 0 and at least one noise draw, "
                f"not seed {seed} and {draws} draws."
            )
        self.config: DMFNetConfig = networks.config
        self.stride = self.config.stride
        self.weights_sha256 = networks.sha256
        self.seed = seed
        self.draws = draws
        self._schedule = self.config.build_schedule()
        self._unet = channels_last(networks.unet.eval().to(device))
        self._head = channels_last(networks.head.eval().to(device))
        self._output = self.config.build_output()

    @torch.inference_mode()
    def fuse(
        self, reference: Tensor, other: Tensor, slice_indices: Sequence[int] | None = None
    ) -> Tensor:
        """Return the fused slices (N, 1, H, W) in [0, 1], the mean over the noise draws.

        Args:
            reference: anatomical slices (N, 1, H, W) in [0, 1], H and W multiples of ``stride``.
            other: slices of the second image, alike.
            slice_indices: places of the slices in their volume (default 0 … N-1); they seed the
                noise.
        """
        return torch.stack(list(self._fuse_draws(reference, other, slice_indices))).mean(dim=0)

    @torch.inference_mode()
    def fuse_with_uncertainty(
        self, reference: Tensor, other: Tensor, slice_indices: Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the mean and the standard deviation over the noise draws, both like ``fuse``.

        Raises:
            ValueError: if the method was created with a single draw.
        """
        if self.draws < 2:
            raise ValueError("The uncertainty needs at least two noise draws: set draws=2 or more.")
        fused = torch.stack(list(self._fuse_draws(reference, other, slice_indices)))
        return fused.mean(dim=0), fused.std(dim=0)

    def _fuse_draws(
        self, reference: Tensor, other: Tensor, slice_indices: Sequence[int] | None
    ) -> Iterator[Tensor]:
        indices = range(len(reference)) if slice_indices is None else slice_indices
        height, width = reference.shape[-2:]
        grown = _grow(reference, self._smallest_side), _grow(other, self._smallest_side)
        for draw in range(self.draws):
            fused = [
                self._fuse_once(grown[0][part], grown[1][part], indices[part], draw)
                for part in self._parts(len(reference), reference.device)
            ]
            yield torch.cat(fused)[..., :height, :width]

    @staticmethod
    def _parts(count: int, device: torch.device) -> list[slice]:
        """Divide a batch: on the CPU the passes of one slice are a batch that fills it."""
        size = 1 if device.type == "cpu" else count
        return [slice(start, start + size) for start in range(0, count, size)]

    @property
    def _smallest_side(self) -> int:
        return SMALLEST_COARSE_SIDE * self.stride

    def _noisy(
        self, reference: Tensor, other: Tensor, slice_indices: Sequence[int], draw: int
    ) -> tuple[Tensor, Tensor]:
        """Inputs of all UNet passes of some slices, as ``noisy_passes`` stacks them."""

        def draw_noise(step: int, source: Source) -> tuple[Tensor, Tensor]:
            size = reference.shape[-2:]
            return slice_noise(self._schedule, self.seed, slice_indices, step, source, draw, size)

        return noisy_passes(self.config.time_steps, reference, other, draw_noise)

    def _fuse_once(
        self, reference: Tensor, other: Tensor, slice_indices: Sequence[int], draw: int
    ) -> Tensor:
        noisy, levels = self._noisy(reference, other, slice_indices, draw)
        kind = reference.device.type
        with torch.autocast(kind, torch.float16, enabled=_float16_is_on(kind)):
            maps = self._head(*self._features(noisy, levels, len(reference)))
        return self._output(maps, reference, other)

    def _features(
        self, noisy: Tensor, levels: Tensor, count: int
    ) -> tuple[list[dict[int, Tensor]], list[dict[int, Tensor]]]:
        """Features of ``count`` slices as ``split_passes`` gives them.

        On the CPU one time step comes after the other where the maps of all are large, so that they
        take the memory of one.
        """
        maps = noisy.numel() * self.config.inner_channel
        size = 2 * count if noisy.device.type == "cpu" and maps > LARGE_MAPS else len(noisy)
        reference, other = [], []
        for images, their_levels in zip(noisy.split(size), levels.split(size), strict=True):
            features = self._unet.features(images, their_levels, self.config.feat_scales)
            reference_steps, other_steps = split_passes(features, size // (2 * count))
            reference += reference_steps
            other += other_steps
        return reference, other


def _float16_is_on(kind: str) -> bool:
    """Whether float16 is asked for; bfloat16 moves a slice by up to 0.012, float16 by 0.0023."""
    return torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.float16


def noisy_passes(
    time_steps: Sequence[int],
    reference: Tensor,
    other: Tensor,
    draw_noise: Callable[[int, Source], tuple[Tensor, Tensor]],
) -> tuple[Tensor, Tensor]:
    """Stack the inputs of all UNet passes: step by step, the reference before the other.

    Args:
        time_steps: the noise steps.
        reference, other: clean slices (N, 1, H, W) in [0, 1].
        draw_noise: gives noise (N, 1, H, W) and noise levels (N, 1) for a step and a source.

    Returns:
        Noisy images (2 · steps · N, 1, H, W) around [-1, 1] and their noise levels, (…, 1).
    """
    noisy, levels = [], []
    for step in time_steps:
        for source, image in ((Source.REFERENCE, reference), (Source.OTHER, other)):
            noise, level = draw_noise(step, source)
            levels.append(level.to(image))
            noisy.append(add_noise(2 * image - 1, noise.to(image), level))
    return torch.cat(noisy).to(memory_format=torch.channels_last), torch.cat(levels)


def split_passes(
    features: dict[int, Tensor], step_count: int
) -> tuple[list[dict[int, Tensor]], list[dict[int, Tensor]]]:
    """Undo the stacking of the UNet passes.

    Args:
        features: by index, (2 · step_count · N, C, h, w): step by step, reference before other.

    Returns:
        For the reference and for the other image one dictionary of (N, C, h, w) per time step.
    """
    parts = {index: feature.chunk(2 * step_count) for index, feature in features.items()}
    passes = [{index: parts[index][k] for index in parts} for k in range(2 * step_count)]
    return passes[::2], passes[1::2]


def _grow(image: Tensor, side: int) -> Tensor:
    """Repeat the last row and column of a small image until no side is shorter than ``side``."""
    missing = [max(0, side - length) for length in image.shape[-2:]]
    return functional.pad(image, (0, missing[1], 0, missing[0]), mode="replicate")


def channels_last(network: Network) -> Network:
    """Lay out a network's weights as the fast convolutions of CPUs and GPUs want them."""
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def create(
    device: torch.device, weights: str | Path | None = None, seed: int = 0, draws: int = 1
) -> DMFNet:
    """Build the method with the shipped weights, or with those of a safetensors file.

    Args:
        device: where the networks run.
        weights: a file written by ``medfusion import-weights dmfnet`` or by training.
        seed: of the noise; the same seed gives the same result.
        draws: number of noise draws to average.

    Raises:
        WeightsError: if the file is missing, damaged or fits no DM-FNet.
        ValueError: for a negative seed or fewer than one draw.
    """
    networks = read_shipped() if weights is None else read_weights(Path(weights))
    return DMFNet(networks, device, seed, draws)
