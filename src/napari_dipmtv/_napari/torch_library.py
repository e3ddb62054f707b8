"""The library of torch to memory, while other threads run: Python's import of it stops them all for 0.2 s."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

SUFFIX = ".dylib" if sys.platform == "darwin" else ".so"


@cache
def load() -> None:
    """Load what torch consists of, once, in the order and way of its own import, which then finds it loaded.

    Does nothing where the system knows no `dlopen` (Windows), torch has been imported already or lies elsewhere.
    """
    torch = find_spec("torch")
    if os.name != "posix" or "torch" in sys.modules or torch is None or torch.origin is None:
        return
    # called as a foreign function, dlopen lets go of Python's lock; CDLL(path) does not
    dlopen = ctypes.CDLL(None).dlopen
    dlopen.argtypes, dlopen.restype = (ctypes.c_char_p, ctypes.c_int), ctypes.c_void_p
    folder = Path(torch.origin).parent / "lib"
    for name, mode in (("libtorch_global_deps", os.RTLD_GLOBAL), ("libtorch_cpu", os.RTLD_LOCAL)):
        dlopen(os.fsencode(folder / f"{name}{SUFFIX}"), os.RTLD_NOW | mode)
