"""T1, PD and T2 slices modelled from tissue maps, each time as another scanner would show them.

Spin echo: S = PD (1 - exp(-TR / T1)) exp(-TE / T2), times in ms. Relaxation times and proton
densities of healthy tissue at 1.5 T: Kwan, Evans and Pike, IEEE Trans. Med. Imaging 18:1085, 1999.
What is drawn anew for every slice (tissues, echo times, skull and scalp, lesions, blur, shading,
noise, windows) follows the idea of Billot et al., SynthSeg, Med. Image Anal. 86:102789, 2023.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from MedFusionLib.training.hinet_data import NEAR

TISSUES = ("grey", "white", "fluid", "fat", "muscle", "lesion")
"""Each pixel is a mixture of them; bone and air give no signal."""
RELAXATION = (
    (833.0, 83.0, 0.86),
    (500.0, 70.0, 0.77),
    (2569.0, 329.0, 1.0),
    (350.0, 70.0, 1.0),
    (900.0, 47.0, 1.0),
)
"""T1 in ms, T2 in ms and proton density of all but the lesion."""
LESION_RANGES = ((900.0, 2200.0), (110.0, 280.0), (0.85, 1.0))


class Protocol(NamedTuple):
    """How a sequence is acquired; times in ms."""

    repetition: tuple[float, float]
    """Range of what an input may be acquired with."""
    echo: tuple[float, float]
    target_times: tuple[float, float]
    """Repetition and echo time of what is learnt: one protocol for all."""
    white_level: float
    """Signal of the target that is shown as 1."""


PROTOCOLS = {
    # Fat, and little else, is brighter than the white of T1.
    "T1": Protocol((300.0, 750.0), (5.0, 20.0), (500.0, 12.0), 0.5),
    # Nearly the brightness of fat.
    "PD": Protocol((2000.0, 4000.0), (10.0, 35.0), (3000.0, 20.0), 0.75),
    # Nearly that of cerebrospinal fluid.
    "T2": Protocol((2500.0, 6000.0), (80.0, 120.0), (4000.0, 100.0), 0.62),
}
INPUTS = {"T1": ("T2", "PD"), "PD": ("T1", "T2"), "T2": ("T1", "PD")}
"""Target to what it is learnt from, in the network's order."""


class Sequences(NamedTuple):
    """Modelled slices, each (N, 1, H, W) in [0, 1]."""

    first: Tensor
    second: Tensor
    target: Tensor


@dataclass(frozen=True)
class ContrastModel:
    """What is learnt, and ranges of what differs from slice to slice."""

    target: str = "T2"
    """Of ``INPUTS``."""
    jitter: float = 0.12
    """Standard deviation of the logarithm of each tissue's relaxation times and density."""
    acquired_share: float = 0.4
    """Share of slices whose brain shows the template's own T1 instead of a modelled one, where T1
    is an input: what is learnt is modelled always."""
    bare_share: float = 0.2
    """Share of slices without skull and scalp."""
    lesion_share: float = 0.8
    """Share of slices with a lesion, which the target has to show as its relaxation makes it."""
    blur: float = 1.5
    """Largest standard deviation of the tissues' blur, in pixels."""
    shading: float = 0.2
    noise: float = 0.03
    window: tuple[float, float] = (0.75, 1.3)
    """Where an input's window ends, as a multiple of its brightest 0.2 %."""

    @torch.no_grad()
    def __call__(self, maps: Tensor) -> Sequences:
        """Maps (N, 5, H, W) as ``hinet_data.Head.slices`` gives them, moved at will."""
        shares = self._mixture(maps)
        relaxation = self._relaxation(maps)
        acquired = _drawn(maps, self.acquired_share)
        ill = _with_lesion(shares, self._lesion(maps) * _drawn(maps, self.lesion_share))
        signals = [
            self._input(maps, name, shares, ill, relaxation, acquired)
            for name in INPUTS[self.target]
        ]
        protocol = PROTOCOLS[self.target]
        times = (torch.full_like(acquired, time) for time in protocol.target_times)
        target = spin_echo(ill, relaxation, *times) / protocol.white_level
        first, second = (self._seen(signal) for signal in signals)
        return Sequences(first, second, target.clamp(0, 1))

    def _input(
        self,
        maps: Tensor,
        name: str,
        shares: Tensor,
        ill: Tensor,
        relaxation: Tensor,
        acquired: Tensor,
    ) -> Tensor:
        """Signal of an input; T1 is the template's own, changed by a lesion, if ``acquired``."""
        protocol = PROTOCOLS[name]
        times = _uniform(maps, *protocol.repetition), _uniform(maps, *protocol.echo)
        signal = spin_echo(ill, relaxation, *times)
        if name != "T1":
            return signal
        change = signal / spin_echo(shares, relaxation, *times).clamp(min=1e-3)
        return torch.lerp(signal, self._acquired(maps, shares, signal) * change, acquired)

    def _mixture(self, maps: Tensor) -> Tensor:
        """Shares (N, tissues, H, W): the brain's, and around it fluid, bone, fat and muscle."""
        tissue, distance = maps[:, :3].clamp(0, 1), NEAR - maps[:, 4:5]
        inside = tissue.sum(1, keepdim=True).clamp(0, 1)
        distance = distance + smooth_noise(maps, 6) * 1.5
        rim = _uniform(maps, 0.5, 4)
        bone = rim + _uniform(maps, 3, 7)
        fat = bone + _uniform(maps, 1, 6)
        muscle = fat + _uniform(maps, 0.5, 3)
        covered = _drawn(maps, 1 - self.bare_share) * (1 - inside)
        fluid = tissue[:, 2:3] + covered * _below(distance, rim)
        in_fat = covered * _between(distance, bone, fat)
        in_muscle = covered * _between(distance, fat, muscle)
        shares = [tissue[:, :2], fluid, in_fat, in_muscle, torch.zeros_like(fluid)]
        return blurred(torch.cat(shares, dim=1), self.blur * float(torch.rand(())))

    def _relaxation(self, maps: Tensor) -> Tensor:
        """T1, T2 and density of each tissue: (3, N, tissues, 1, 1)."""
        count = len(maps)
        healthy = maps.new_tensor(RELAXATION).T.view(3, 1, -1).expand(3, count, -1)
        healthy = healthy * torch.exp(self.jitter * torch.randn_like(healthy))
        low, high = maps.new_tensor(LESION_RANGES).T.view(2, 3, 1, 1)
        lesion = low + (high - low) * torch.rand(3, count, 1, device=maps.device)
        return torch.cat([healthy, lesion], dim=2).unsqueeze(-1).unsqueeze(-1)

    def _lesion(self, maps: Tensor) -> Tensor:
        """How much of the brain's tissue a lesion has taken: (N, 1, H, W) in [0, 1]."""
        height, width = maps.shape[-2:]
        y = torch.arange(height, device=maps.device).view(1, 1, -1, 1)
        x = torch.arange(width, device=maps.device).view(1, 1, 1, -1)
        radius, soft = _uniform(maps, 3, 40), _uniform(maps, 0.7, 4)
        row, column = _uniform(maps, 0.15, 0.85) * height, _uniform(maps, 0.15, 0.85) * width
        away = torch.hypot(y - row, x - column)
        away = away + 0.4 * radius * smooth_noise(maps, 10)
        return torch.sigmoid((radius - away) / soft) * _uniform(maps, 0.3, 1)

    def _acquired(self, maps: Tensor, shares: Tensor, modelled: Tensor) -> Tensor:
        """The template's T1 in the brain, as bright as the modelled one there."""
        inside = shares[:, :2].sum(1, keepdim=True)
        own = maps[:, 3:4]
        level = (modelled * inside).sum((1, 2, 3)) / (own * inside).sum((1, 2, 3)).clamp(min=1e-3)
        brain = (maps[:, :3].sum(1, keepdim=True)).clamp(0, 1)
        return torch.lerp(modelled, own * level.view(-1, 1, 1, 1), brain)

    def _seen(self, signal: Tensor) -> Tensor:
        """A signal with the scanner's shading and noise, through a window: in [0, 1]."""
        shaded = signal * torch.exp(self.shading * smooth_noise(signal, 3))
        top = torch.stack([_top(image) for image in shaded]).view(-1, 1, 1, 1)
        noisy = shaded / top + _uniform(signal, 0, self.noise) * torch.randn_like(signal)
        return (noisy.abs() / _uniform(signal, *self.window)).clamp(0, 1)


def spin_echo(shares: Tensor, relaxation: Tensor, repetition: Tensor, echo: Tensor) -> Tensor:
    """Signal (N, 1, H, W) of mixtures (N, tissues, H, W); times in ms, (N, 1, 1, 1)."""
    t1, t2, density = relaxation
    signal = density * (1 - torch.exp(-repetition / t1)) * torch.exp(-echo / t2)
    return (shares * signal).sum(1, keepdim=True)


def blurred(maps: Tensor, deviation: float) -> Tensor:
    """Gaussian blur of every map, in pixels; below a quarter of a pixel, none."""
    if deviation < 0.25:
        return maps
    reach = math.ceil(3 * deviation)
    steps = torch.arange(-reach, reach + 1, device=maps.device, dtype=maps.dtype)
    weights = torch.exp(-0.5 * (steps / deviation) ** 2)
    weights = (weights / weights.sum()).repeat(maps.shape[1], 1, 1, 1)
    groups = maps.shape[1]
    rows = F.conv2d(maps, weights, padding=(0, reach), groups=groups)
    return F.conv2d(rows, weights.transpose(2, 3), padding=(reach, 0), groups=groups)


def smooth_noise(like: Tensor, waves: int) -> Tensor:
    """Noise (N, 1, H, W) of about ``waves`` hills along each axis and of about unit size."""
    coarse = torch.randn(len(like), 1, waves, waves, device=like.device)
    return F.interpolate(coarse, like.shape[-2:], mode="bicubic", align_corners=True)


def _with_lesion(shares: Tensor, taken: Tensor) -> Tensor:
    """The mixture after a lesion took its part of grey and white matter."""
    brain = shares[:, :2]
    lesion = shares[:, 5:] + (brain * taken).sum(1, keepdim=True)
    return torch.cat([brain * (1 - taken), shares[:, 2:5], lesion], dim=1)


def _top(image: Tensor) -> Tensor:
    """99.8th percentile of what is brighter than a tenth of the brightest."""
    bright = image[image > 0.1 * image.max()]
    return torch.quantile(bright, 0.998).clamp(min=0.05) if len(bright) else image.new_tensor(1.0)


def _below(distance: Tensor, edge: Tensor) -> Tensor:
    return torch.sigmoid((edge - distance) / 0.4)


def _between(distance: Tensor, near: Tensor, far: Tensor) -> Tensor:
    return _below(distance, far) * (1 - _below(distance, near))


def _uniform(like: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(len(like), 1, 1, 1, device=like.device)


def _drawn(like: Tensor, share: float) -> Tensor:
    """1 for about that share of the batch, else 0: (N, 1, 1, 1)."""
    return (_uniform(like, 0, 1) < share).float()
