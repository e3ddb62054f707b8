"""Convolution and batch norm that sum in one thread: the same layers, the same bits on any number of threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from napari_dipmtv.tomo.repeatable import BatchNorm, Convolution

STRIDED = {"stride": 2, "padding": 1}
REFLECTED = {"padding": 1, "padding_mode": "reflect"}


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def learnt(layer: nn.Module, inputs: int, *, half: bool) -> list[torch.Tensor]:
    """Output and all gradients of one backward pass, and the statistics."""
    x = torch.randn(1, inputs, 20, 21, 23, generator=torch.Generator().manual_seed(1)).requires_grad_()
    x_last = x.to(memory_format=torch.channels_last_3d)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        y = layer(x_last).float()
    (y - 1).square().sum().backward()
    gradients = [p.grad for p in layer.parameters() if p.grad is not None]
    assert x.grad is not None
    assert len(gradients) == len(list(layer.parameters()))
    return [y.detach(), x.grad, *gradients, *(b.clone().float() for b in layer.buffers())]


def made(kind: Callable[..., nn.Module], *sizes: int, **options: object) -> nn.Module:
    torch.manual_seed(0)
    return kind(*sizes, **options)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(
    ("ours", "theirs", "sizes", "options"),
    [
        (Convolution, nn.Conv3d, (6, 9, 3), STRIDED),
        (Convolution, nn.Conv3d, (6, 9, 3), REFLECTED),
        (Convolution, nn.Conv3d, (6, 9, 1), {"bias": False}),
        (BatchNorm, nn.BatchNorm3d, (6,), {}),
    ],
)
def test_layers_are_those_of_torch(
    ours: Callable[..., nn.Module],
    theirs: Callable[..., nn.Module],
    sizes: tuple[int, ...],
    options: dict[str, object],
    half: bool,
) -> None:
    torch.set_num_threads(1)
    both = (learnt(made(kind, *sizes, **options), sizes[0], half=half) for kind in (ours, theirs))
    for mine, other in zip(*both, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-4 * float(other.abs().max()))


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("kind", [Convolution, BatchNorm])
def test_same_bits_on_any_number_of_threads(kind: Callable[..., nn.Module], half: bool) -> None:
    sizes, options = ((8, 32, 3), REFLECTED) if kind is Convolution else ((8,), {})
    found = []
    for count in (1, 2, 3, 5):
        torch.set_num_threads(count)
        found.append(learnt(made(kind, *sizes, **options), sizes[0], half=half))
        assert torch.get_num_threads() == count  # given back
    for others in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], others, strict=True))


def test_a_norm_in_use_is_the_one_of_torch() -> None:
    norm, x = made(BatchNorm, 6).eval(), torch.randn(1, 6, 4, 4, 4)
    assert torch.equal(norm(x), made(nn.BatchNorm3d, 6).eval()(x))
