"""What the benchmarks share: processor time, peak memory, a description of the machine, and their page of results.

Import it before numpy and torch: it pins the work to one thread of one core.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TypeVar

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

T = TypeVar("T")
PAGE = Path(__file__).with_name("results.md")


def options(words: str, names: tuple[str, ...] = ()) -> argparse.Namespace:
    """Command line of a benchmark: ``--write``, ``--device``, and which of ``names`` to run (all when none given)."""
    parser = argparse.ArgumentParser(description=words)
    if names:
        parser.add_argument("names", nargs="*", choices=(*names, []), help="run these only")
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/results.md")
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="fill the tables of this device"
    )
    return parser.parse_args()


def data_folder() -> Path:
    """The folder of real data: DIPMTV_DATA, or ``shared/data`` beside the checkout; may be absent."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("DIPMTV_DATA", beside))


def seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """Median processor time of one call after a warm-up: wall time on an idle core, unharmed by other programs."""
    work()
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return median(times)


def cuda_seconds(work: Callable[[], object], repeats: int = 20) -> float:
    """Median wall time of one call on the GPU, to the end of its last kernel."""
    import torch

    times = []
    for _ in range(repeats + 3):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        work()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    return median(times[3:])


def once(work: Callable[[], T]) -> tuple[T, float, float | None]:
    """Result, processor seconds and additional peak memory in MB of one call; memory is None where Linux is not."""
    before = _peak_mb(reset=True)
    begin = time.process_time()
    value = work()
    took = time.process_time() - begin
    after = _peak_mb(reset=False)
    return value, took, None if before is None or after is None else max(after - before, 0.0)


def _peak_mb(*, reset: bool) -> float | None:
    """Peak resident memory of this process; after a reset, what is resident now."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    return next(float(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def machine(packages: Iterable[str] = ("torch", "astra-toolbox", "scikit-image", "etspy", "numpy")) -> str:
    """One sentence: processor, cores, load and versions; no names of hosts or folders."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    load = f", load {os.getloadavg()[0]:.0f} during the run" if hasattr(os, "getloadavg") else ""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return (
        f"{model}, {os.cpu_count()} cores of which one thread was used{load}; "
        f"Python {platform.python_version()}, {versions}."
    )


def graphics() -> str:
    """Name of the GPU and version of torch."""
    import torch

    return f"{torch.cuda.get_device_name()}, torch {torch.__version__}."


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Markdown."""
    lines = [list(head)]
    lines += [["---"] * len(lines[0]), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def finish(heading: str, text: str, *, write: bool) -> None:
    """Print a section, and put it in the place of the section of that heading in the page of results."""
    section = f"## {heading}\n\n{text.strip()}\n"
    print(section, flush=True)
    if not write:
        return
    page = PAGE.read_text(encoding="utf-8") if PAGE.exists() else "# Measured\n"
    first, *sections = page.split("\n## ")
    kept = {part.partition("\n")[0]: f"## {part.strip()}\n" for part in sections}
    kept[heading] = section
    PAGE.write_text("\n".join([first.strip() + "\n", *kept.values()]), encoding="utf-8")
