"""The repeats of a trust study to Dask workers, and what they find to the disk until the study has taken it."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from napari_dipmtv.errors import ReadError
from napari_dipmtv.io.atomic import atomic_write, output_folder
from napari_dipmtv.io.guard import reading
from napari_dipmtv.sweep.workers import distributed, held, threads_limited
from napari_dipmtv.trust.repeats import Arrays, Work

S = TypeVar("S")


class Shelf:
    """What finished jobs have found, one file each, whole or not there.

    Parameters
    ----------
    folder : Path
        Made with the first file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def put(self, name: str, found: Arrays) -> None:
        """Store the result of a job; raises `WriteError`."""

        def write(partial: Path) -> None:
            with partial.open("wb") as stream:
                np.savez(stream, *found)

        output_folder(self.folder)
        atomic_write(self.folder / f"{name}.npz", write, size_bytes=sum(one.nbytes for one in found))

    def get(self, name: str) -> Arrays | None:
        """The result of a job that is stored whole, else None: it is done again."""
        path = self.folder / f"{name}.npz"
        if not path.is_file():
            return None
        try:
            with reading(path), np.load(path, allow_pickle=False) as file:
                return tuple(file[f"arr_{i}"] for i in range(len(file.files)))
        except ReadError:
            return None

    def clear(self) -> None:
        """Remove everything, when the study has it."""
        for path in self.folder.glob("*.npz"):
            path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()


class OnWorkers:
    """Does repeats on the workers of a `dask.distributed.Client`: a `napari_dipmtv.trust.repeats.Repeats`.

    Results come in the order of the numbers, to the last bit those of one process with as many threads. One that ends
    before its turn waits on the shelf, so that a stop, a crash or a lost machine costs running jobs only; it keeps
    what has a name.
    """

    def __init__(self, client: Any, threads: int, shelf: Shelf) -> None:
        self.client, self.threads, self.shelf = client, threads, shelf

    def __call__(
        self, work: Work[S], shared: S, numbers: Sequence[int], name: str = ""
    ) -> Iterator[str | Arrays]:
        """Do the repeats of one part of a study."""
        waiting = {n: found for n in numbers if name and (found := self.shelf.get(f"{name}-{n}")) is not None}
        turn = 0  # place in the numbers of the result that is taken next
        ended = self._ended(work, shared, [n for n in numbers if n not in waiting], name)
        try:
            while turn < len(numbers):
                if numbers[turn] in waiting:
                    yield waiting.pop(numbers[turn])
                    turn += 1
                    continue
                number, found = next(ended)
                waiting[number] = found
                yield f"{turn + len(waiting)} of {len(numbers)} on workers"
        finally:
            ended.close()

    def _ended(
        self, work: Work[S], shared: S, numbers: Sequence[int], name: str
    ) -> Generator[tuple[int, Arrays], None, None]:
        """Number and result of every job as it ends, once it is on the shelf."""
        common = held(self.client, shared) if numbers else None
        jobs = {str(n): (work, common, n, self.threads) for n in numbers}
        for key, found in distributed(finished, jobs, self.client):
            if name:  # without one nobody could tell it from those of other data
                self.shelf.put(f"{name}-{key}", found)
            yield int(key), found


def finished(work: Work[S], shared: S, number: int, threads: int) -> Arrays:
    """Do one repeat with so many threads."""
    with threads_limited(threads):
        *_, found = work(shared, number)
    assert not isinstance(found, str)  # words come before it
    return found
