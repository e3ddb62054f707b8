"""A Qt binding that uses up references of Python is named before it ends the program."""

from __future__ import annotations

from typing import Any

import pytest

from napari_dipmtv._napari import binding


@pytest.mark.parametrize("lost", [None, 0, binding.CALLS])
def test_a_binding_that_loses_references_is_named_once(
    lost: int | None, qapp: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None: the binding that is here, which loses one at every call or none."""
    shown: list[str] = []
    monkeypatch.setattr(binding, "show_warning", shown.append)
    if lost is not None:
        monkeypatch.setattr(binding, "lost_references", lambda: lost)
    loses = binding.lost_references()
    assert loses == pytest.approx(0, abs=5) or loses == pytest.approx(binding.CALLS, abs=5)
    binding.warn.cache_clear()
    binding.warn()
    binding.warn()
    assert len(shown) == (loses > 5)
    assert all("pip install" in words for words in shown)
