"""Devices beside the CPU: what is asked of them, and runs within what an Apple GPU can do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from particles import counted, particle
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from napari_dipmtv.data import TiltSeries
from napari_dipmtv.errors import DeviceError
from napari_dipmtv.phantom.fused import simulate_fused
from napari_dipmtv.projection import sparse
from napari_dipmtv.settings.fused import FusedPhantomSettings, FusedSettings
from napari_dipmtv.settings.tomo import (
    CsTvSettings,
    DipSettings,
    Method,
    MethodSettings,
    SirtSettings,
    WbpSettings,
)
from napari_dipmtv.tomo import devices
from napari_dipmtv.tomo.fused import fuse
from napari_dipmtv.tomo.reconstruct import reconstruct

DIP = DipSettings(iterations=3, filters=(4, 8), skips=(2, 2), precision="float32")
METHODS: dict[Method, MethodSettings] = {
    "wbp": WbpSettings(),
    "sirt": SirtSettings(iterations=5),
    "cs-tv": CsTvSettings(iterations=30),
    "dip-tv": DIP,
    "dipm-tv": DIP.replace(refine_shifts=True),
}


class AppleGpu(TorchDispatchMode):
    """The processor with the limits of an Apple GPU in torch 2.13: no float64, no compressed rows."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.lift_fresh.default:  # of from_numpy: the array is on the host still
            return out
        for part in tree_leaves(out):
            if isinstance(part, torch.Tensor) and part.layout == torch.sparse_csr:
                raise NotImplementedError(f"Could not run '{func}' from the 'mps:0' device")
            if isinstance(part, torch.Tensor) and part.dtype == torch.float64:
                raise TypeError(f"{func}: Cannot convert a MPS Tensor to float64 dtype")
        return out


@pytest.fixture
def apple(monkeypatch: pytest.MonkeyPatch) -> AppleGpu:
    """Let the processor be treated as an Apple GPU is."""
    monkeypatch.setattr(sparse, "NO_COMPRESSED_ROWS", ("cpu",))
    return AppleGpu()


@pytest.fixture(scope="module")
def series() -> TiltSeries:
    return counted(particle(16), 5.0)


def test_the_limits_are_felt(series: TiltSeries) -> None:
    with pytest.raises(NotImplementedError, match="Could not run"), AppleGpu():
        reconstruct(series, "sirt", SirtSettings(iterations=2))
    with pytest.raises(TypeError, match="float64"), AppleGpu():
        torch.ones(2).double()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_stays_within_an_apple_gpu(series: TiltSeries, apple: AppleGpu, method: Method) -> None:
    with apple:
        found = reconstruct(series, method, METHODS[method]).volume.data
    with pytest.MonkeyPatch.context() as usual:
        usual.setattr(sparse, "NO_COMPRESSED_ROWS", ())
        wanted = reconstruct(series, method, METHODS[method]).volume.data
    # the order of the sums alone moves a network by 0.3 to 4 % within three steps
    near = 0.1 if method.startswith("dip") else 1e-5
    assert np.linalg.norm(found - wanted) < near * np.linalg.norm(wanted)


def test_fusion_stays_within_an_apple_gpu(apple: AppleGpu) -> None:
    measured = simulate_fused(FusedPhantomSettings(field_voxels=16, haadf_tilts=12, supersampling=2))
    with apple:
        found = fuse(measured.chemical, measured.haadf, "fused", FusedSettings(iterations=5))
    assert np.isfinite(found.volume.data).all()


def test_an_apple_gpu_that_is_not_there_is_said() -> None:
    if torch.backends.mps.is_available():
        pytest.skip("there is one")
    with pytest.raises(DeviceError, match=r"expected an Apple GPU, got none. Choose cpu"):
        devices.pick_device("mps")


def test_f29_the_memory_of_an_apple_gpu_is_a_part_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 12 * 10**9)
    monkeypatch.setattr(torch.mps, "current_allocated_memory", lambda: 2 * 10**9)
    for free, wanted in ((20 * 10**9, 10 * 10**9), (4 * 10**9, 4 * 10**9)):
        monkeypatch.setattr(devices.psutil, "virtual_memory", lambda n=free: SimpleNamespace(available=n))
        assert devices.available_bytes(torch.device("mps")) == wanted
