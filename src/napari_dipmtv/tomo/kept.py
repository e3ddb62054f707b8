"""The tensors of an iteration to plain arrays of a checkpoint, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from numpy.typing import NDArray

from napari_dipmtv.errors import InputError, expected


def keep(owner: object, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Copy the tensors of these names to the host."""
    return {name: getattr(owner, name).cpu().numpy().copy() for name in names}


def put_back(owner: object, names: Iterable[str], saved: Mapping[str, NDArray[Any]]) -> None:
    """Fill the tensors of these names from a checkpoint, in place.

    Raises
    ------
    InputError
        For a checkpoint of another size or method.
    """
    for name in names:
        own = getattr(owner, name)
        if name not in saved or saved[name].shape != tuple(own.shape):
            raise InputError(
                expected(
                    "checkpoint",
                    f"{name} of shape {tuple(own.shape)}",
                    saved[name].shape if name in saved else "none",
                    "Use the series and the settings of the first run",
                )
            )
        own.copy_(torch.from_numpy(saved[name]))
