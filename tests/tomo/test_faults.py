"""Geometry and device at their worst: every case ends in a right volume, or in one sentence and what was reached."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from particles import TILTS, counted, particle

from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.errors import DeviceError, InputError
from napari_dipmtv.projection.backends import make_projector
from napari_dipmtv.projection.geometry import Geometry
from napari_dipmtv.projection.sparse import SparseProjector
from napari_dipmtv.settings.tomo import METHODS, CsTvSettings, DipSettings, Method, SirtSettings
from napari_dipmtv.states import State, run
from napari_dipmtv.tomo.crop import Crop
from napari_dipmtv.tomo.device_faults import fault
from napari_dipmtv.tomo.network import DipNetwork
from napari_dipmtv.tomo.problem import pose
from napari_dipmtv.tomo.reconstruct import reconstruct, reconstruct_states

SMALL = DipSettings(
    iterations=8,
    filters=(4, 8),
    skips=(2, 2),
    network_input="random",
    precision="float32",
    schedule="constant",
    held_out=0,
    cavities=False,
    crop=False,
)
OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: 12 bytes"),
    RuntimeError(
        "[enforce fail] data. DefaultCPUAllocator: not enough memory: you tried to allocate 12 bytes."
    ),
    RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    MemoryError(),
]
DEAD_DEVICE = [
    RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be ..."),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("CUDA error: unknown error"),  # after suspend
]


@pytest.fixture
def breaks(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Exception], list[weakref.ref]]:  # type: ignore[type-arg]
    """Let the network raise at its n-th call; gives weak references to what was alive in that call."""

    def arm(call: int, error: Exception) -> list[weakref.ref]:  # type: ignore[type-arg]
        forward, calls, alive = DipNetwork.forward, iter(range(1, 10**6)), []

        def faulty(network: DipNetwork, z: torch.Tensor) -> torch.Tensor:
            if next(calls) == call:
                activation = z.clone()
                alive.append(weakref.ref(activation))
                raise error
            return forward(network, z)

        monkeypatch.setattr(DipNetwork, "forward", faulty)
        return alive

    return arm


def extent(x: np.ndarray, axis: int) -> float:
    """Root mean square distance from the centre of a volume (z, y, x) along one axis."""
    weights = x.sum(axis=tuple(a for a in range(3) if a != axis))
    place = np.arange(len(weights)) - (len(weights) - 1) / 2
    return float(np.sqrt((weights * place**2).sum() / weights.sum()))


@pytest.mark.parametrize("method", ["sirt", "cs-tv", "dipm-tv"])
@pytest.mark.parametrize(
    "keep", [slice(2, 7), [0, 1, 2, 6, 7, 8]], ids=["a wedge of 110 deg", "none in the middle"]
)
def test_f26_missing_tilts_leave_a_usable_volume(method: Method, keep: object, truth: Volume) -> None:
    full = counted(truth, 50.0)
    tilts = tuple(np.asarray(TILTS)[keep])  # type: ignore[index]
    series = TiltSeries(full.data[:, keep], full.channels, tilts, 0.5, counts_per_unit=50.0)  # type: ignore[index]
    settings = {
        "sirt": SirtSettings(iterations=30),
        "cs-tv": CsTvSettings(iterations=60),
        "dipm-tv": SMALL.replace(iterations=20, network_input="cs-tv", crop=True, polish=0, precision="auto"),
    }[method]
    found = reconstruct(series, method, settings).volume.data
    assert np.isfinite(found).all()
    assert found.sum() == pytest.approx(truth.data.sum(), rel=0.15)
    assert np.corrcoef(found.sum(0).ravel(), truth.data.sum(0).ravel())[0, 1] > 0.7


def test_f26_a_wider_wedge_stretches_along_the_beam(truth: Volume) -> None:
    stretch = []
    for limit in (70.0, 50.0, 30.0):
        geometry = Geometry.of((24, 24, 24), tuple(np.linspace(-limit, limit, 9)))
        data = SparseProjector(geometry)(torch.from_numpy(truth.data)).numpy()
        series = TiltSeries(data, truth.channels, geometry.tilts_deg, 0.5)
        x = reconstruct(series, "sirt", SirtSettings(iterations=30)).volume.data.sum(0)
        stretch.append(extent(x, 0) / extent(x, 2))
    assert 0.95 < stretch[0] < stretch[1] < stretch[2]


@pytest.mark.parametrize("shape", [(24, 24), (25, 25), (1, 24), (7, 25), (33, 20)])
def test_f27_every_shape_keeps_its_place(shape: tuple[int, int]) -> None:
    """A ball off the centre comes back where it was, to a tenth of a voxel: even, odd, one row, not square."""
    ny, nx = shape
    z, y, x = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in (nx, ny, nx)), indexing="ij")
    ball = np.clip(5.5 - np.sqrt((z - 2) ** 2 + y**2 + (x + 3) ** 2), 0, 1).astype(np.float32)[None]
    tilts = tuple(float(t) for t in np.linspace(-85, 85, 18))
    data = SparseProjector(Geometry.of((nx, ny, nx), tilts))(torch.from_numpy(ball)).numpy()
    series = TiltSeries(data, ("ball",), tilts, 0.5)
    for method, settings in (("sirt", SirtSettings(iterations=20)), ("cs-tv", CsTvSettings(iterations=60))):
        found = reconstruct(series, method, settings).volume.data[0]  # type: ignore[arg-type]
        centre = [float((found * axis).sum() / found.sum()) for axis in (z, y, x)]
        assert centre == pytest.approx([2, 0, -3], abs=0.1)


def test_f27_maps_too_small_for_the_network_are_refused_in_words() -> None:
    series = counted(particle(16), 5.0)
    with pytest.raises(InputError, match=r"4 levels of filters.*more than 16 pixels.*got 16"):
        reconstruct(series, "dipm-tv", SMALL.replace(filters=(4, 4, 4, 4), skips=(0, 0, 0, 0)))
    done = reconstruct(series, "dipm-tv", SMALL.replace(iterations=1))
    assert done.volume.data.shape == (2, 16, 16, 16)


@pytest.mark.parametrize("method", ["sirt", "cs-tv", "dipm-tv"])
def test_the_projector_of_astra_serves_every_method(method: Method, series: TiltSeries) -> None:
    """The weights differ by some 1e-5, and so do the volumes of a few steps."""
    pytest.importorskip("astra")
    settings = {
        "sirt": SirtSettings(iterations=5),
        "cs-tv": CsTvSettings(iterations=10),
        "dipm-tv": SMALL.replace(iterations=3),
    }[method]
    own = reconstruct(series, method, settings).volume.data
    astra = reconstruct(series, method, settings.replace(projector="astra")).volume.data
    assert 0 < np.linalg.norm(astra - own) < 2e-3 * np.linalg.norm(own)


def test_the_box_keeps_the_projector_of_its_problem(series: TiltSeries) -> None:
    pytest.importorskip("astra")
    whole = pose(series, torch.device("cpu"), backend="astra")
    box = Crop(whole, ((4, 20), (2, 18), (3, 19))).problem
    x = torch.rand(box.shape)
    wanted = make_projector(box.projector.geometry, "cpu", "astra")(x)
    torch.testing.assert_close(box.projector(x), wanted, rtol=0, atol=0)
    assert not torch.equal(wanted, SparseProjector(box.projector.geometry)(x))


def test_f28_astra_without_a_gpu_is_refused_before_its_kernels_are_called(
    series: TiltSeries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_dipmtv.tomo.reconstruct.pick_device", lambda _: torch.device("cuda"))
    monkeypatch.setitem(sys.modules, "astra", SimpleNamespace(use_cuda=lambda: False))
    with pytest.raises(DeviceError, match="ASTRA on CUDA"):
        reconstruct(series, "sirt", SirtSettings(projector="astra"), "cuda")


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: str(error)[:30] or "MemoryError")
def test_f30_out_of_memory_keeps_the_volume_and_says_what_is_smaller(
    series: TiltSeries, breaks: Callable[[int, Exception], list[weakref.ref[torch.Tensor]]], error: Exception
) -> None:
    alive = breaks(5, error)
    wide = SMALL.replace(filters=(16, 16))
    result = reconstruct(series, "dipm-tv", wide)
    assert (result.stopped, result.iterations) == (True, 4)
    assert len(result.losses["data"]) == 4
    (note,) = result.notes
    assert "precision=bfloat16 (about" in note
    assert "filters=[8,8] (about" in note
    error.__traceback__ = None  # the list of this module keeps the error itself alive
    gc.collect()
    assert [reference() for reference in alive] == [None]


def test_f30_the_volume_kept_is_that_of_the_last_good_step(
    series: TiltSeries, breaks: Callable[[int, Exception], object]
) -> None:
    four = reconstruct(series, "dipm-tv", SMALL.replace(iterations=4)).volume.data
    breaks(5, torch.OutOfMemoryError("CUDA out of memory"))
    np.testing.assert_array_equal(reconstruct(series, "dipm-tv", SMALL).volume.data, four)


def test_f30_out_of_memory_in_the_first_step_is_an_error_with_advice(
    series: TiltSeries, breaks: Callable[[int, Exception], object]
) -> None:
    breaks(1, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(DeviceError, match=r"memory of cpu.*precision=bfloat16") as caught:
        reconstruct(series, "dipm-tv", SMALL)
    assert caught.value.__context__ is None  # which would hold the frames and tensors of the failed step


def test_f30_the_next_run_is_unharmed(
    series: TiltSeries, breaks: Callable[[int, Exception], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = reconstruct(series, "dipm-tv", SMALL).volume.data
    breaks(3, torch.OutOfMemoryError("CUDA out of memory"))
    assert reconstruct(series, "dipm-tv", SMALL).stopped
    monkeypatch.undo()
    np.testing.assert_array_equal(reconstruct(series, "dipm-tv", SMALL).volume.data, wanted)


@pytest.mark.parametrize("error", DEAD_DEVICE, ids=lambda error: str(error)[:30])
def test_f31_a_dead_device_is_said_once(
    series: TiltSeries, breaks: Callable[[int, Exception], object], error: Exception
) -> None:
    breaks(4, error)
    result = reconstruct(series, "dipm-tv", SMALL)
    assert (result.stopped, result.iterations) == (True, 3)
    assert "Restart the program, then go on from the last checkpoint" in result.notes[0]
    assert "kernel errors" not in result.notes[0]  # the first line says it


@pytest.mark.parametrize(
    "words",
    [
        "The operator 'aten::upsample_trilinear3d' is not currently implemented for the MPS device.",
        "Could not run 'new_compressed_tensor' from the 'mps:0' device",
        "\"slow_conv3d_cpu\" not implemented for 'Half'",
    ],
    ids=lambda words: words[:25],
)
def test_f31_a_step_that_torch_lacks_is_said(
    series: TiltSeries, breaks: Callable[[int, Exception], object], words: str
) -> None:
    breaks(1, NotImplementedError(words))
    with pytest.raises(DeviceError, match=r"every step of this method.*Choose cpu, or install a newer torch"):
        reconstruct(series, "dipm-tv", SMALL)
    assert fault(NotImplementedError("of our own")) is None


def test_f31_the_first_error_is_told_where_the_device_gives_no_snapshot() -> None:
    def dead() -> int:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    def states() -> Iterator[State[int]]:
        yield State(1, 5, {}, dead)
        raise DeviceError("the device failed")

    with pytest.raises(DeviceError, match="the device failed"):
        run(states())


def test_other_errors_are_not_explained_away(
    series: TiltSeries, breaks: Callable[[int, Exception], object]
) -> None:
    breaks(2, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        reconstruct(series, "dipm-tv", SMALL)
    assert fault(DeviceError("memory of cuda: out of memory")) is None  # has been explained already


@pytest.mark.gpu
def test_f30_a_real_gpu_gives_its_memory_back(series: TiltSeries) -> None:
    before = torch.cuda.memory_allocated()
    torch.cuda.set_per_process_memory_fraction(0.001)
    try:
        with pytest.raises(DeviceError, match="device cpu"):
            reconstruct(series, "dipm-tv", SMALL.replace(filters=(256, 256)), "cuda")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    gc.collect()
    assert torch.cuda.memory_allocated() == before


@pytest.mark.parametrize("method", METHODS)
def test_f37_threads_are_as_before(method: Method, series: TiltSeries) -> None:
    before = torch.get_num_threads(), torch.get_num_interop_threads()
    settings = SMALL.replace(iterations=2) if method.startswith("dip") else None
    states = reconstruct_states(series, method, settings)
    next(states)
    assert (torch.get_num_threads(), torch.get_num_interop_threads()) == before
    states.close()  # type: ignore[attr-defined]
    assert (torch.get_num_threads(), torch.get_num_interop_threads()) == before


def test_f34_any_number_of_threads_gives_the_same_volume_to_the_last_bit(series: TiltSeries) -> None:
    before, volumes = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            volumes.append(reconstruct(series, "dipm-tv", DipSettings(iterations=6)).volume.data)
    finally:
        torch.set_num_threads(before)
    assert all(np.array_equal(other, volumes[0]) for other in volumes[1:])
