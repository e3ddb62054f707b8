"""Convolution and batch norm whose results do not depend on the number of processor threads.

Sums over all voxels (the gradients of kernels, the means of a batch norm) are split among the threads, so that their
rounding depends on how many there are. Training amplifies that: after a few hundred steps 1e-7 has become a percent
of the volume. Here one thread makes those sums, and all threads everything else: the same bits, whoever computes. (For
numbers of channels that oneDNN has kernels for, such as 8, 16 and 32; others go through products of matrices, which are
split as well.) On other devices nothing changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

_backward = torch.ops.aten.convolution_backward
_norm = torch.ops.aten.native_batch_norm
_norm_backward = torch.ops.aten.native_batch_norm_backward


class Convolution(nn.Conv3d):
    """`torch.nn.Conv3d` with the same gradient on any number of threads."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Convolve (1, c, z, y, x)."""
        if input.device.type != "cpu":
            return super().forward(input)
        padding = [int(side) for side in self.padding]
        if self.padding_mode != "zeros":
            input = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode)
            padding = [0, 0, 0]
        weight, bias = self.weight, self.bias
        if torch.is_autocast_enabled("cpu"):
            half = torch.get_autocast_dtype("cpu")
            input, weight, bias = input.to(half), weight.to(half), None if bias is None else bias.to(half)
        return _Convolve.apply(input, weight, bias, list(self.stride), padding)  # type: ignore[no-any-return,no-untyped-call]


class BatchNorm(nn.BatchNorm3d):
    """`torch.nn.BatchNorm3d` with the same statistics and gradient on any number of threads."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise (1, c, z, y, x)."""
        if input.device.type != "cpu" or not self.training:
            return super().forward(input)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        running = self.running_mean, self.running_var
        return _Normalise.apply(input, self.weight, self.bias, *running, self.momentum, self.eps)  # type: ignore[no-any-return,no-untyped-call]


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        stride: list[int],
        padding: list[int],
    ) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.kind = None if bias is None else [len(bias)], stride, padding, [1, 1, 1], False, [0, 0, 0], 1
        return F.conv3d(x, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        back = None
        if ctx.needs_input_grad[0]:
            back = _backward(gradient, x, weight, *ctx.kind, [True, False, False])[0]
        with _one_thread():
            kernels, biases = _backward(
                gradient, x, weight, *ctx.kind, [False, True, ctx.kind[0] is not None]
            )[1:]
        return back, kernels, biases, None, None


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        mean: torch.Tensor,
        variance: torch.Tensor,
        momentum: float,
        epsilon: float,
    ) -> torch.Tensor:
        with _one_thread():
            y, *found = _norm(x, weight, bias, mean, variance, True, momentum, epsilon)
        ctx.save_for_backward(x, weight, mean, variance, *found)
        ctx.epsilon = epsilon
        return y  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, *statistics = ctx.saved_tensors
        with _one_thread():
            back = _norm_backward(gradient, x, weight, *statistics, True, ctx.epsilon, [True, True, True])
        return *back, None, None, None, None


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
