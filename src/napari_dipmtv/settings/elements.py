"""Symbols of elements to their facts in eXSpy's tables; down here because X-ray lines and quantification need it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from napari_dipmtv.errors import InputError, expected


def element_facts(symbol: str) -> Mapping[str, Any]:
    """The entry of one element in ``exspy.material.elements``.

    Raises
    ------
    InputError
        For an unknown symbol, or where eXSpy is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # HyperSpy warns of its own old names while eXSpy loads
            from exspy.material import elements
    except ImportError as error:
        raise InputError(
            expected("the table of the elements", "the package exspy", "none", "Run: pip install exspy")
        ) from error
    table: Mapping[str, Mapping[str, Any]] = elements.as_dictionary()
    if symbol not in table:
        advice = "Name lines like Fe_Ka, and channels after elements or lines"
        raise InputError(expected("element", "a symbol such as Fe", symbol, advice))
    return table[symbol]
