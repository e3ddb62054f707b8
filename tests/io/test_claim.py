"""A claim on a path: one holder at a time, over processes, and none behind a process that was killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from napari_dipmtv.errors import WriteError
from napari_dipmtv.io.claim import Claim, is_claimed

HOLD = """
import sys, time
from pathlib import Path
from napari_dipmtv.io.claim import Claim
claim = Claim(Path(sys.argv[1]))
print(claim.take(), flush=True)
time.sleep(60)
"""


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    first, second = Claim(tmp_path / "a"), Claim(tmp_path / "a")
    assert not is_claimed(tmp_path / "a")
    assert first.take()
    assert first.take()  # which it has already
    assert not second.take()
    assert not second.held
    assert is_claimed(tmp_path / "a")
    assert Claim(tmp_path / "b").take()  # and is let go with the object
    first.release()
    first.release()
    assert list(tmp_path.iterdir()) == []
    assert second.take()
    assert not first.take()


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path / "a")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        mine = Claim(tmp_path / "a")
        assert not mine.take()
        assert is_claimed(tmp_path / "a")
        process.send_signal(signal.SIGTERM)
        process.wait()
    assert not is_claimed(tmp_path / "a")
    assert mine.take()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert not is_claimed(tmp_path / "none" / "a")
    with pytest.raises(WriteError, match="can be written"):
        Claim(tmp_path / "none" / "a").take()
