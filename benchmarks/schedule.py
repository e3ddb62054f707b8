"""Times of jobs to how a campaign on several GPUs goes, event by event, with GPUs that are lost and come back."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BACK_AFTER_S = 600.0  # a lost GPU


@dataclass(frozen=True)
class Campaign:
    """How a campaign went: hours to the end, share of the time that the GPUs computed, jobs done again."""

    hours: float
    busy: float
    redone: int


def simulated(job_s: NDArray[np.float64], gpus: int, loss_hours: float, seed: int = 0) -> Campaign:
    """Give every free GPU the next particle; one that is lost starts its job again and is back after ten minutes."""
    random = np.random.default_rng(seed)
    waiting = list(job_s[::-1])
    free = [(0.0, gpu) for gpu in range(gpus)]
    end, computed, redone = 0.0, 0.0, 0
    while waiting:
        now, gpu = heapq.heappop(free)
        job = waiting.pop()
        lost_after = random.exponential(3600 * loss_hours)
        if lost_after < job:
            waiting.append(job)
            redone += 1
            heapq.heappush(free, (now + lost_after + BACK_AFTER_S, gpu))
            continue
        computed += job
        end = max(end, now + job)
        heapq.heappush(free, (now + job, gpu))
    return Campaign(end / 3600, computed / (end * gpus), redone)
