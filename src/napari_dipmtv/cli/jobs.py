"""The options that say who does many jobs to the workers that do them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_dipmtv.errors import InputError, expected

if TYPE_CHECKING:
    from napari_dipmtv.trust.repeats import Repeats

SchedulerOption = Annotated[
    str | None,
    typer.Option(
        "--scheduler", metavar="tcp://HOST:PORT", help="A running Dask scheduler whose workers do the jobs."
    ),
]
WorkersOption = Annotated[
    int,
    typer.Option(
        "--workers",
        min=0,
        help="Processes of this machine that share the jobs; 0 does them one after the other here.",
    ),
]


@dataclass(frozen=True, slots=True)
class JobsOn:
    """Where the jobs of a command are done."""

    workers: WorkersOption = 0
    scheduler: SchedulerOption = None

    @contextmanager
    def client(self, threads: int) -> Iterator[Any]:
        """A client of workers where such are asked for, else None; raises `InputError` for both kinds at once."""
        if self.scheduler is not None and self.workers:
            advice = "Leave --workers out; the cluster has its own"
            raise InputError(expected("--workers", "none beside --scheduler", self.workers, advice))
        if self.scheduler is None and not self.workers:
            yield None
            return
        from napari_dipmtv.sweep.workers import cluster

        with cluster(self.scheduler, self.workers, threads) as client:
            yield client

    @contextmanager
    def repeats(self, threads: int | None, folder: Path) -> Iterator[Repeats]:
        """What does the repeats of a study: this process, or workers whose results wait in a folder for their turn.

        Everything computes with so many threads, here too; without a number with one on workers, with all of them here.
        """
        from napari_dipmtv.sweep.repeats import OnWorkers, Shelf
        from napari_dipmtv.sweep.workers import threads_limited
        from napari_dipmtv.trust.repeats import here

        with ExitStack() as stack:
            client = stack.enter_context(self.client(threads or 1))
            if client is not None or threads is not None:
                stack.enter_context(threads_limited(threads or 1))
            yield here if client is None else OnWorkers(client, threads or 1, Shelf(folder))
