"""The rules that fuse the maps of two sources; neither has parameters, nor an order of sources."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def by_activity(first: Tensor, second: Tensor) -> Tensor:
    """Weighted mean of maps (N, C, H, W), the weights from the activity at each pixel.

    Activity is the mean magnitude over the channels and over 3×3 pixels, those beyond the border
    not counted; the weights are its softmax over the two sources.
    """
    activity = torch.cat([_activity(first), _activity(second)], dim=1)
    weights = torch.softmax(activity, dim=1)
    return weights[:, :1] * first + weights[:, 1:] * second


def by_magnitude(first: Tensor, second: Tensor) -> Tensor:
    """The stronger of two maps (N, C, H, W) at each pixel, after a vote of 3×3 pixels.

    Where neither has more votes, the mean of both: so an exchange of the sources changes nothing.
    """
    votes = torch.sign(first.detach().abs() - second.detach().abs())
    # A mean of nine is no exact number in half precision, and its sign can be wrong.
    share = (1 + torch.sign(_over_3x3(votes.float()).round(decimals=4))) / 2
    share = share.to(first.dtype)
    return share * first + (1 - share) * second


def _activity(maps: Tensor) -> Tensor:
    magnitude = maps.abs().mean(1, keepdim=True)
    return F.avg_pool2d(magnitude, 3, stride=1, padding=1, count_include_pad=False)


def _over_3x3(maps: Tensor) -> Tensor:
    return F.avg_pool2d(maps, 3, stride=1, padding=1)
