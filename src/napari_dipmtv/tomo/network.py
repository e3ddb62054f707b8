"""A fixed random input to a volume: the untrained U-Net of the deep image prior."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from napari_dipmtv.settings.tomo import DipOutput
from napari_dipmtv.tomo.repeatable import BatchNorm, Convolution

SLOPE = 0.01  # of every LeakyReLU


class DipNetwork(nn.Module):
    """3-D U-Net with strided encoder, thin skips and one non-negative output per channel.

    The published DIPm-TV architecture (arXiv 2606.10893): encoder block = 3³ convolution of stride 2, 3³ convolution;
    skip = 1³ convolution of the block's *input*; decoder = trilinear resize, concatenation, batch norm, 3³ and 1³
    convolution; head = 3³ convolution to ``head`` features, 3³ convolution to the channels. Batch norm and LeakyReLU
    follow each convolution; padding reflects, except that stride-2 convolutions pad with zeros.

    Parameters
    ----------
    inputs, channels : int
        Channels of the random input and of the volume.
    filters, skips : tuple of int
        Features at each level (finest first) and of the skips; a skip of 0 leaves it out.
    head : int
        Features before the last convolution.
    output : {"softplus", "square", "fractions"}
        ``log(1 + exp(a - 1))``; the published ``LeakyReLU(a)^2``, whose gradient vanishes where the volume does; or
        the shares of the channels in the voxel, ``softmax(1, a_1, ..., a_c)`` without the first (vacuum), times one
        density per channel that is learnt with the weights.
    """

    def __init__(
        self,
        inputs: int,
        channels: int,
        filters: tuple[int, ...],
        skips: tuple[int, ...],
        *,
        head: int = 16,
        output: DipOutput = "square",
    ) -> None:
        super().__init__()
        self.output = output
        if output == "fractions":
            self.log_density = nn.Parameter(torch.full((channels,), 0.2))
        above = (inputs, *filters[:-1])  # channels of each block's input
        self.encoders = nn.ModuleList(_encoder(a, f) for a, f in zip(above, filters, strict=True))
        self.skips = nn.ModuleList(
            _conv(a, s, 1) if s else nn.Identity() for a, s in zip(above, skips, strict=True)
        )
        below = (*filters[1:], filters[-1])  # channels that come up from the level below
        self.decoders = nn.ModuleList(
            _decoder(b, s, f) for b, s, f in zip(below, skips, filters, strict=True)
        )
        self.widths = skips
        self.head = nn.Sequential(
            _conv(filters[0], head, 3), Convolution(head, channels, 3, padding=1, padding_mode="reflect")
        )

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Map the input (1, inputs, z, y, x) to a non-negative volume (1, channels, z, y, x)."""
        kept = []
        for encoder, skip, width in zip(self.encoders, self.skips, self.widths, strict=True):
            kept.append((skip(z) if width else None, z.shape[2:]))
            z = encoder(z)
        for decoder, (side, size) in zip(reversed(self.decoders), reversed(kept), strict=True):
            z = F.interpolate(z, size=size, mode="trilinear", align_corners=False)
            z = decoder(z if side is None else torch.cat([z, side], dim=1))
        a = self.head(z).float()
        if self.output == "softplus":
            return F.softplus(a - 1)
        if self.output == "square":
            return F.leaky_relu(a, SLOPE).square()
        shares = torch.softmax(torch.cat([torch.ones_like(a[:, :1]), a], dim=1), dim=1)[:, 1:]
        return shares * self.log_density.exp()[:, None, None, None]


def lay_out(network: DipNetwork, order: torch.memory_format) -> None:
    """Store the kernels of the convolutions in this order."""
    for weight in network.parameters():
        if weight.dim() == 5:  # (out, in, z, y, x)
            weight.data = weight.data.to(memory_format=order)


def _conv(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Sequential:
    mode: Literal["zeros", "reflect"] = "zeros" if stride > 1 or size == 1 else "reflect"
    conv = Convolution(inputs, outputs, size, stride, padding=size // 2, padding_mode=mode)
    return nn.Sequential(conv, BatchNorm(outputs), nn.LeakyReLU(SLOPE, inplace=True))


def _encoder(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(_conv(inputs, outputs, 3, stride=2), _conv(outputs, outputs, 3))


def _decoder(below: int, skip: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(BatchNorm(below + skip), _conv(below + skip, outputs, 3), _conv(outputs, outputs, 1))
