"""Jobs to results, one after the other here or many at once on a Dask cluster, each with the same number of threads."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from napari_dipmtv.errors import InputError, expected

R = TypeVar("R")
T = TypeVar("T")

_TRIES = 5  # of a job whose worker is lost, before the job itself is blamed
# What Dask looks after beside the jobs takes two processes 9 % of a core as it is usually set, and 3 % like this.
_QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.tick.cycle": "5s",
    "distributed.worker.memory.monitor-interval": "1s",
}
_THREAD_NAMES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@contextmanager
def threads_limited(threads: int) -> Iterator[None]:
    """Let torch and BLAS compute with so many threads inside, on the own GPU of a worker; the numbers before come back.

    Sums are split among threads: other numbers of them give other last bits.
    """
    import torch
    from threadpoolctl import threadpool_limits

    gpu = own_gpu(_worker_name(), torch.cuda.device_count())
    if gpu is not None:
        torch.cuda.set_device(gpu)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with threadpool_limits(threads):
            yield
    finally:
        torch.set_num_threads(before)


def serial(work: Callable[..., R], jobs: Mapping[str, tuple[Any, ...]]) -> Iterator[tuple[str, R]]:
    """Call ``work`` with the arguments of each job, in their order; gives key and result of each as it ends."""
    for key, arguments in jobs.items():
        yield key, work(*arguments)


def distributed(
    work: Callable[..., R], jobs: Mapping[str, tuple[Any, ...]], client: Any
) -> Iterator[tuple[str, R]]:
    """Do the jobs on the workers of a `dask.distributed.Client`; gives key and result in the order in which they end.

    A job whose worker is lost is done again by another one. An error inside a job ends the whole with that error; jobs
    that are not begun are called off, also when the caller stops. Arguments may be futures, see `held`.
    """
    as_completed: Any = _package().as_completed
    futures = {client.submit(work, *arguments, pure=False): key for key, arguments in jobs.items()}
    try:
        for future in as_completed(list(futures), loop=client.loop):
            yield futures[future], future.result()
            future.release()  # the scheduler need not keep what is stored
    finally:
        client.cancel(list(futures))


def _worker_name() -> object:
    """What the Dask worker is called that does this job; None outside of workers."""
    distributed = sys.modules.get("distributed")  # a worker has imported it
    try:
        return None if distributed is None else distributed.get_worker().name
    except ValueError:
        return None


def own_gpu(worker: object, gpus: int) -> int | None:
    """Number of the GPU of a worker, by the number that is its name or ends it; None where there is no choice.

    Local workers are called 0, 1, ..., those of ``dask worker --name HOST --nworkers 4`` HOST-0 to HOST-3. Others have
    no number: whoever starts them gives each its GPU (``CUDA_VISIBLE_DEVICES``).
    """
    numbered = re.fullmatch(r"(?:.*-)?(\d+)", str(worker))
    return int(numbered[1]) % gpus if gpus > 1 and numbered else None


def held(client: Any, value: T) -> Any:
    """A future of a value that many jobs share. The value travels once to each worker.

    It is the result of a job, not scattered data: those are gone with the worker that holds them.
    """
    return client.submit(_same, value, pure=False)


def _same(value: T) -> T:
    return value


@contextmanager
def cluster(scheduler: str | None, workers: int, threads: int) -> Iterator[Any]:
    """A client of the scheduler at an address, or of a cluster of local processes that ends with the block.

    Parameters
    ----------
    scheduler : str, optional
        Such as "tcp://10.0.0.5:8786".
    workers : int
        Local processes, where there is no address.
    threads : int
        Of each job; BLAS and OpenMP of local workers get as many.

    Raises
    ------
    InputError
        When the package distributed is not installed, or nothing answers at the address.
    """
    package = _package()
    import dask  # comes with it

    environment = dict.fromkeys(_THREAD_NAMES, str(threads))
    with dask.config.set({"distributed.scheduler.allowed-failures": _TRIES, **_QUIET}):
        if scheduler is not None:
            try:
                client = package.Client(scheduler, timeout="15s", set_as_default=False)
            except (OSError, ValueError) as error:
                advice = "Start `dask scheduler` there, or leave --scheduler out for local workers"
                raise InputError(expected(f"scheduler {scheduler}", "an answer", error, advice)) from error
            with client:
                yield client
            return
        before = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)  # what the worker processes inherit
        try:
            with (
                package.LocalCluster(
                    n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None
                ) as local,
                package.Client(local, set_as_default=False) as client,
            ):
                yield client
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def _package() -> Any:
    try:
        import distributed
    except ImportError as error:
        advice = "Run: pip install 'napari-dipmtv[dask]'"
        raise InputError(expected("jobs on workers", "the package distributed", "none", advice)) from error
    return distributed
