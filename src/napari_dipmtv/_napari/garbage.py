"""Python's search for garbage to one among newer things only, while something is computed beside the window.

Python looks among all things of the process now and then, in whichever thread has just made one. In the thread of the
window that stops everything for 0.1 to 0.3 s; in another one it would take docks apart that have been closed, which Qt
allows in the thread of the window alone.
"""

from __future__ import annotations

import gc

_holders = 0


def hold() -> None:
    """Leave alone what there is now, until as many have called `release`. In the thread of the window, as the other."""
    global _holders
    _holders += 1
    gc.freeze()


def release() -> None:
    """Look among all things again, once nobody holds them."""
    global _holders
    _holders -= 1
    if not _holders:
        gc.unfreeze()
