"""Published comparison, thin skins, voids, detection and calibration on known truth, to docs/validation.md.

    python scripts/validation_page.py benchmarks/validation_runs.jsonl [--minutes M] [--only WORDS] [--report-only]

Each finished run is one line of the file; a study that was interrupted, or was given a time, goes on where it was. The
last line of a name and seed counts: `--again` adds one where there is one. In docs/validation.md only the part between
the two marks is replaced.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from validation_runs import jobs
from validation_tables import report

from napari_dipmtv.io.guard import plain


def records(path: Path) -> list[dict[str, Any]]:
    """What has been run; a line that was cut off by an interruption is done again."""
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        rows[row["name"], row["seed"]] = row
    return list(rows.values())


def run_missing(path: Path, minutes: float, only: str, again: bool) -> None:
    """Compute rows with these words in their name until none is missing or the time is over."""
    end = time.monotonic() + 60 * minutes
    done = set() if again else {(row["name"], row["seed"]) for row in records(path)}
    for job in jobs():
        if (job.name, job.seed) in done or only not in job.name:
            continue
        if time.monotonic() > end:
            return
        begin = time.process_time()
        row = {"name": job.name, "seed": job.seed, **plain(job.compute())}
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{job.name}, seed {job.seed}: {time.process_time() - begin:.0f} s", flush=True)


def main() -> None:
    """Run what is missing and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin nothing after this time")
    parser.add_argument("--only", default="", help="words in the names of the runs to do")
    parser.add_argument("--again", action="store_true", help="do them again")
    parser.add_argument("--report-only", action="store_true")
    options = parser.parse_args()
    if not options.report_only:
        run_missing(options.runs, options.minutes, options.only, options.again)
    report(records(options.runs))


if __name__ == "__main__":
    main()
