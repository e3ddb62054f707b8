"""The deep image priors that others run slice by slice: the published 2-D recipe, and deepinv's decoder.

The 2-D recipe is that of arXiv:2605.27139, written anew: one network per slice and channel, AdamW with a rate of 0.01,
the sum of squares, fresh noise of 1/30 on the input, no total variation. Both get our projector and maps divided by
their maximum, so that only network and optimiser differ.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.nn import functional as F

FILTERS, SKIPS, INPUTS = (16, 32, 64, 128), (4, 8, 16, 32), 32
Project = Callable[[torch.Tensor], torch.Tensor]  # images (c, z, x) to a sinogram (c, t, x)
Step = tuple[float, torch.Tensor]  # processor seconds of one iteration, image (c, z, x) after it


class SliceNetwork(nn.Module):
    """The 2-D U-Net of the recipe: strided encoder, thin skips, one channel behind a leaky rectifier."""

    def __init__(self) -> None:
        super().__init__()
        above, below = (INPUTS, *FILTERS[:-1]), (*FILTERS[1:], FILTERS[-1])
        self.encoders = nn.ModuleList(
            nn.Sequential(*_block(a, f, 3, stride=2), *_block(f, f, 3))
            for a, f in zip(above, FILTERS, strict=True)
        )
        self.skips = nn.ModuleList(nn.Sequential(*_block(a, s, 1)) for a, s in zip(above, SKIPS, strict=True))
        self.decoders = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(b + s), *_block(b + s, f, 3), *_block(f, f, 1))
            for b, s, f in zip(below, SKIPS, FILTERS, strict=True)
        )
        last = nn.Conv2d(4, 1, 3, padding=1, padding_mode="reflect")
        self.head = nn.Sequential(*_block(FILTERS[0], 4, 3), last, nn.LeakyReLU())

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Map (1, 32, z, x) to (1, 1, z, x)."""
        kept = []
        for encoder, skip in zip(self.encoders, self.skips, strict=True):
            kept.append(skip(z))
            z = encoder(z)
        for decoder, side in zip(reversed(self.decoders), reversed(kept), strict=True):
            z = decoder(torch.cat([F.interpolate(z, size=side.shape[2:], mode="bilinear"), side], dim=1))
        out: torch.Tensor = self.head(z)
        return out


def _block(inputs: int, outputs: int, size: int, stride: int = 1) -> tuple[nn.Module, ...]:
    mode = "zeros" if stride > 1 or size == 1 else "reflect"
    conv = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, padding_mode=mode)
    return conv, nn.BatchNorm2d(outputs), nn.LeakyReLU()


def recipe_2d(sinogram: torch.Tensor, project: Project, side: int, steps: int) -> Iterator[Step]:
    """Fit one network per channel, side by side."""
    networks = [SliceNetwork() for _ in sinogram]
    inputs = [0.1 * torch.rand(1, INPUTS, side, side) for _ in sinogram]
    optimisers = [torch.optim.AdamW(network.parameters(), lr=0.01) for network in networks]
    for _ in range(steps):
        begin, images = time.process_time(), []
        for network, z, optimiser, measured in zip(networks, inputs, optimisers, sinogram, strict=True):
            optimiser.zero_grad(set_to_none=True)
            image = network(z + torch.randn_like(z) / 30)[0]
            (project(image) - measured[None]).square().sum().backward()
            optimiser.step()
            images.append(image.detach()[0])
        yield time.process_time() - begin, torch.stack(images)


def deepinv_prior(sinogram: torch.Tensor, project: Project, side: int, steps: int) -> Iterator[Step]:
    """Run deepinv's DeepImagePrior with its ConvDecoder of 64 channels, both maps as the channels of one image."""
    from deepinv.models import ConvDecoder, DeepImagePrior
    from deepinv.physics import Physics

    outputs: list[Step] = []
    decoder = ConvDecoder(img_size=(len(sinogram), side, side), in_size=(4, 4), channels=64)
    begin = time.process_time()

    def look(_: nn.Module, __: object, image: torch.Tensor) -> None:
        nonlocal begin
        now = time.process_time()
        outputs.append((now - begin, image.detach()[0].clone()))
        begin = now

    decoder.register_forward_hook(look)
    prior = DeepImagePrior(decoder, img_size=(64, 4, 4), iterations=steps, learning_rate=0.01)
    prior(sinogram[None], Physics(A=lambda x, **_: project(x[0])[None]))
    yield from outputs[1:]  # the first output comes before any step
