"""Time and peak memory of opening 16 spectrum images of 256 x 256 x 2048, each case in a process of its own.

Opening is what `napari-dipmtv tilts` and the window do: the table of files, tilts, calibrations and problems. The
HyperSpy files hold 32-bit numbers, 0.5 GiB each, whose zeros take no disk; the Bruker files are the real series of
dust, where DIPMTV_DATA leads to it. Prints a table; ``--write`` puts it into ``benchmarks/results.md``.
"""

from __future__ import annotations

import report  # first: pins the threads

# isort: split

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py

SHAPE = (256, 256, 2048)
TILTS = range(-40, 40, 5)
HEAD = ("files", "size of all", "what", "time", "peak memory")
WORK = """
import json, resource, sys
from napari_dipmtv.io.part import Part
from napari_dipmtv.io.spectrum_images import open_images
from napari_dipmtv.io.tilt_table import survey
from pathlib import Path
def used():
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime, own.ru_maxrss / 1024
table = survey(Path(sys.argv[1]))
assert len(table.headers(sys.argv[2])) == 16, table.problems
opened = used()
next(open_images(table, sys.argv[2], keep=Part(bin_pixels=4)))
print(json.dumps([opened, used()]))
"""


def series(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Name, kind and folder of each case."""
    for tilt in TILTS:
        _write_hspy(folder / f"core_loss_{tilt:+d}.hspy")
    yield "`.hspy`, EELS", "core-loss", folder
    dust = Path(os.environ.get("DIPMTV_DATA", "")) / "L2083_edx_spectrum_images"
    if dust.is_dir():
        yield "`.bcf`, EDX of dust", "EDS", dust


def _write_hspy(path: Path) -> None:
    """A HyperSpy file as large as its counts, which are zeros that the disk need not hold."""
    with h5py.File(path, "w") as file:
        file.attrs.update(file_format="HyperSpy", file_format_version="3.3")
        group = file.create_group(f"Experiments/{path.stem}")
        axes = (("y", "nm", 0.5, 0.0), ("x", "nm", 0.5, 0.0), ("Energy loss", "eV", 0.25, 400.0))
        for i, (name, units, scale, offset) in enumerate(axes):
            facts = {"name": name, "units": units, "scale": scale, "offset": offset, "size": SHAPE[i]}
            group.create_group(f"axis-{i}").attrs.update(_type="UniformDataAxis", navigate=i < 2, **facts)
        early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        early.set_chunk((16, 64, 256))
        early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        early.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        space = h5py.h5s.create_simple(SHAPE)
        h5py.h5d.create(group.id, b"data", h5py.h5t.IEEE_F32LE, space, dcpl=early)
        group.create_group("metadata/Signal").attrs["signal_type"] = "EELS"
        for name in ("original_metadata", "learning_results", "attributes"):
            group.create_group(name)
        group["attributes"].attrs.update(_lazy=False, ragged=False)


def rows(folder: Path) -> Iterator[tuple[str, ...]]:
    """Two lines of the table for each case: opening all, and one of them read, binned."""
    for name, kind, place in series(folder):
        command = [sys.executable, "-c", WORK, str(place), kind]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        opened, read = json.loads(done.stdout)
        size = sum(path.stat().st_size for path in place.iterdir()) / 1024**3
        yield name, f"{size:.1f} GiB", "open all 16", f"{opened[0]:.1f} s", f"{opened[1]:.0f} MB"
        seconds, peak = read[0] - opened[0], read[1]
        yield name, f"{size:.1f} GiB", "read one, 4 x 4 pixels binned", f"{seconds:.1f} s", f"{peak:.0f} MB"


if __name__ == "__main__":
    options = report.options(__doc__)
    with TemporaryDirectory() as folder:
        lines = list(rows(Path(folder)))
    machine = report.machine(("h5py", "rosettasciio", "dask"))
    words = (
        f"By `benchmarks/bench_open.py`, processor time on {machine}\n"
        f"Sixteen spectrum images of {' x '.join(map(str, SHAPE))}; opening includes the start of Python."
    )
    report.finish("Opening", f"{words}\n\n{report.table(HEAD, lines)}", write=options.write)
