"""The number format of the network: bfloat16 where it runs and is not slower, and a word where it was hoped for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from napari_dipmtv.data import TiltSeries
from napari_dipmtv.settings.tomo import DipSettings
from napari_dipmtv.tomo import precision
from napari_dipmtv.tomo.precision import bfloat16_ratio, use_bfloat16, why_float32
from napari_dipmtv.tomo.reconstruct import reconstruct_states

CPU = torch.device("cpu")
QUICK = DipSettings(
    iterations=2, filters=(4, 8), skips=(2, 2), network_input="random", crop=False, cavities=False
)
Pretend = Callable[..., None]


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pretend]:
    """Let the trial take so many seconds in bfloat16 (None: not run) beside 1 s in float32; count the trials."""

    def arm(half_s: float | None, *, native: bool = True) -> None:
        def seconds(_: torch.device, *, half: bool) -> float:
            if half and half_s is None:
                raise RuntimeError("\"slow_conv3d_forward\" not implemented for 'BFloat16'")
            return half_s if half and half_s is not None else 1.0

        monkeypatch.setattr(precision, "_seconds", seconds)
        monkeypatch.setattr(precision, "native", lambda _: native)
        bfloat16_ratio.cache_clear()

    yield arm
    bfloat16_ratio.cache_clear()


@pytest.mark.parametrize(
    ("wanted", "half_s", "native", "taken", "said"),
    [
        ("auto", 0.3, True, True, ""),
        ("auto", 1.3, True, True, ""),  # within what a busy machine may pretend
        ("auto", 4.0, True, False, "float32, since bfloat16 is slower here"),
        ("auto", None, True, False, "float32, since bfloat16 does not run here"),
        ("auto", 0.3, False, False, ""),  # emulated: nobody hoped for it
        ("bfloat16", 4.0, False, True, ""),  # asked for, so taken
        ("bfloat16", None, False, False, "float32, since bfloat16 does not run here"),
        ("float32", 0.3, True, False, ""),
    ],
)
def test_f33_bfloat16_is_timed_at_the_start(
    wanted: str, half_s: float | None, native: bool, taken: bool, said: str, pretend: Pretend
) -> None:
    pretend(half_s, native=native)
    assert use_bfloat16(wanted, CPU) is taken
    assert why_float32(wanted, CPU) == said


def test_f33_a_run_says_why_it_is_in_float32(series: TiltSeries, pretend: Pretend) -> None:
    pretend(4.0)
    *_, last = reconstruct_states(series, "dipm-tv", QUICK)
    assert "float32, since bfloat16 is slower here" in last.stage
    assert last.checkpoint is not None
    assert not last.checkpoint()["0/half"]


def test_the_trial_is_run_once_and_leaves_random_numbers_alone() -> None:
    bfloat16_ratio.cache_clear()
    torch.manual_seed(4)
    wanted = torch.rand(2)
    torch.manual_seed(4)
    first = bfloat16_ratio("cpu")
    torch.testing.assert_close(torch.rand(2), wanted)
    assert 0 < first < 100
    assert bfloat16_ratio("cpu") == first
