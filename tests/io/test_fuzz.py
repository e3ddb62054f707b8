"""Hostile and damaged files: one clear `ReadError` within limits, never a crash, a hang or code that runs.

Everything is read by one child process, so that even a decoder that dies fails a test instead of the whole run; it
may take 2 GB of memory (and 4 GB of addresses, of which libraries and thread stacks hold the most).
(F13 round trips of our own formats: ``test_damage.py``.)
"""

from __future__ import annotations

import io
import json
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import mrcfile
import numpy as np
import pytest
import scipy.io
import tifffile
from foreign_files import write, write_zspy

READER = """
import json, os, resource, sys, warnings
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
warnings.simplefilter("ignore")
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # readers that print must not answer
from napari_dipmtv.errors import InputError
from napari_dipmtv.io.angles import load_angles
from napari_dipmtv.io.maps import load_saved_maps
from napari_dipmtv.io.project import load_project
from napari_dipmtv.io.reference_spectra import load_reference
from napari_dipmtv.io.spectrum_images import load_spectrum_image
from napari_dipmtv.io.stacks import read_stack
from napari_dipmtv.io.tilt_table import load_table, survey
from napari_dipmtv.io.volumes import load_volume
READERS = {
    "image": lambda p: load_spectrum_image(p, tilt_deg=0, pixel_nm=1).counts.shape,
    "stack": lambda p: read_stack(p, "Fe").data.shape,
    "reference": lambda p: load_reference(p, "Fe").intensity.shape,
    "angles": lambda p: len(load_angles(p)),
    "table": lambda p: len(load_table(p).rows),
    "survey": lambda p: len(survey(p).rows),
    "maps": lambda p: load_saved_maps(p).data.shape,
    "volume": lambda p: load_volume(p).data.shape,
    "project": lambda p: load_project(p).output,
}
for line in sys.stdin:
    kind, path = json.loads(line)
    try:
        answer = ["read", str(READERS[kind](Path(path)))]
    except InputError as error:
        answer = ["refused", str(error)]
    except MemoryError:
        answer = ["memory", ""]
    except BaseException as error:
        answer = ["leaked", f"{type(error).__name__}: {error}"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps([*answer, peak]), file=answers, flush=True)
"""
SECONDS = 240  # ten would do on an idle machine


class Child:
    """A process that reads files on request; started anew where one has killed it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def ask(self, kind: str, path: Path) -> tuple[str, str]:
        import threading

        if self._process is None or self._process.poll() is not None:
            code = READER.replace("BYTES", str(4 * 1024**3 if kind == "image" else 3 * 1024**3))
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            self._process = subprocess.Popen([sys.executable, "-c", code], text=True, **pipes)  # type: ignore[call-overload]
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(SECONDS, process.kill)
        timer.start()
        try:
            process.stdin.write(json.dumps([kind, str(path)]) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            return "died", f"code {process.wait()}"
        answer, words, peak_bytes = json.loads(line)
        assert peak_bytes < 2e9, f"{path.name} took {peak_bytes / 1e9:.1f} GB"
        return answer, words

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    child = Child()
    yield child
    child.close()


def npy_header(shape: tuple[int, ...], descr: str = "<f4") -> bytes:
    stream = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue()


class Harmless:
    """Would leave a trace if anything unpickled it."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.trace,)


def with_pickle(path: Path) -> Path:
    """A file of the kind of its ending that holds a pickle; reading it must not leave ``path.parent / "ran"``."""
    evil = np.array([Harmless(path.parent / "ran")], dtype=object)
    match path.suffix:
        case ".npy":
            np.save(path, evil, allow_pickle=True)
        case ".npz" | ".prz":
            with path.open("wb") as stream:
                np.savez(stream, Fe=evil, data=np.ones((2, 3, 4)), meta_data=evil)
        case ".mat":
            scipy.io.savemat(path, {"Fe": np.array([{"a": 1}, {"b": 2}], dtype=object)})
            path.write_bytes(path.read_bytes() + pickle.dumps(evil))
        case ".hspy":
            write(path)
            with h5py.File(path, "a") as file:
                group = file["Experiments"][path.stem]
                group.create_group("models/m").attrs["_class_dump"] = np.void(pickle.dumps(evil))
                group["learning_results"].attrs["dump"] = np.void(pickle.dumps(evil))
                group["axis-2"].attrs["expression"] = "x.__class__"
        case ".json":
            path.write_bytes(pickle.dumps(evil))
    return path


def hostile(path: Path) -> Path:
    """A small file that claims far more than it holds."""
    match path.suffix:
        case ".npy":
            path.write_bytes(npy_header((100_000, 100_000)) + bytes(64))
        case ".npz" | ".prz":
            with (
                zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
                archive.open("Fe.npy", "w") as out,
            ):
                out.write(npy_header((1 << 31,), "|u1"))
                for _ in range(300):  # 300 MB of zeros in 300 kB: stopped by what the header and archive say
                    out.write(bytes(1 << 20))
        case ".mat":
            whole = io.BytesIO()
            scipy.io.savemat(whole, {"Fe": np.zeros((8, 8, 8))})
            raw = bytearray(whole.getvalue())
            place = raw.find(np.array([8, 8, 8], "<i4").tobytes())
            raw[place : place + 12] = np.array([40_000, 40_000, 8], "<i4").tobytes()
            path.write_bytes(raw)
        case ".mrc" | ".st":
            with mrcfile.new(path, np.zeros((2, 3, 4), np.float32), overwrite=True):
                pass
            raw = bytearray(path.read_bytes())
            raw[:12] = np.array([100_000, 100_000, 1000], "<i4").tobytes()
            path.write_bytes(raw)
        case ".tif":
            tifffile.imwrite(path, np.zeros((4, 4), np.float32))
            with tifffile.TiffFile(path, mode="r+") as file:
                for name in ("ImageWidth", "ImageLength"):
                    file.pages[0].tags[name].overwrite(60_000)
        case ".hspy":
            write(path)
            with h5py.File(path, "a") as file:
                group = file["Experiments"][path.stem]
                del group["data"]
                group.create_dataset("data", (40_000, 1000, 1000), "f4", chunks=(1, 1000, 1000))
        case ".emd" | ".h5" | ".nxs":
            with h5py.File(path, "w") as file:
                file.create_dataset("Fe", (40_000, 1000, 1000), "f4", chunks=(1, 1000, 1000))
        case ".rpl":
            path.write_text(
                "key\tvalue\nwidth\t40000\nheight\t1000\ndepth\t1000\noffset\t0\ndata-length\t4\n"
                "data-type\tfloat\nbyte-order\tlittle-endian\nrecord-by\tvector\nev-per-chan\t1\n"
            )
            path.with_suffix(".raw").write_bytes(bytes(100))
        case ".zspy":
            write_zspy(path, np.ones((2, 3, 4)), zipped=True, shape=(40_000, 1000, 1000))
        case ".json":
            path.write_text("[" * 100_000)
        case ".csv" | ".rawtlt" | ".mdoc" | ".txt":
            path.write_text("9" * 2_000_000)
        case ".dm3" | ".dm4" | ".bcf" | ".spd" | ".pts" | ".asw" | ".msa":
            path.write_bytes(b"\x00\x00\x00\x03" + b"\xff" * 4000)
    return path


READS = {
    "image": (
        ".hspy",
        ".zspy",
        ".dm3",
        ".dm4",
        ".bcf",
        ".emd",
        ".prz",
        ".rpl",
        ".spd",
        ".pts",
        ".asw",
        ".nxs",
    ),
    "stack": (".npy", ".npz", ".mat", ".mrc", ".st", ".tif", ".h5", ".hspy"),
    "reference": (".csv", ".msa", ".dm3", ".hspy"),
    "angles": (".rawtlt", ".json", ".csv", ".mdoc", ".txt"),
    "table": (".csv",),
    "project": (".json",),
    "volume": (".tif", ".hspy", ".mrc"),
}
CASES = [(kind, suffix) for kind, suffixes in READS.items() for suffix in suffixes]
IDS = [f"{kind}{suffix}" for kind, suffix in CASES]


def refused(child: Child, kind: str, path: Path) -> str:
    answer, words = child.ask(kind, path)
    assert answer == "refused", (answer, words)
    return words


@pytest.mark.parametrize(("kind", "suffix"), CASES, ids=IDS)
def test_f14_small_file_with_a_huge_claim(child: Child, tmp_path: Path, kind: str, suffix: str) -> None:
    refused(child, kind, hostile(tmp_path / f"a{suffix}"))


@pytest.mark.parametrize(("kind", "suffix"), CASES, ids=IDS)
def test_f13_empty_foreign_and_misnamed_files(child: Child, tmp_path: Path, kind: str, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    for content in (
        b"",
        b"\x00" * 512,
        b"<html>404 not found</html>\n" * 20,
        "größe: 3,5 µm\n".encode("latin1"),
    ):
        path.write_bytes(content)
        assert path.name in refused(child, kind, path)
    path.unlink()
    path.mkdir()  # a folder named like a file
    refused(child, kind, path)
    path.rmdir()
    refused(child, kind, path)  # nothing there
    path.symlink_to(path)  # a link to itself
    refused(child, kind, path)


@pytest.mark.parametrize("ending", [".dm4", ".tif", ".mrc", ".npy", ".emd", ".mat"])
def test_f13_a_good_file_under_a_wrong_ending(child: Child, tmp_path: Path, ending: str) -> None:
    good = write(tmp_path / "good.hspy")
    path = shutil.copy(good, tmp_path / f"wrong{ending}")
    refused(child, "image" if ending in READS["image"] else "stack", Path(path))


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [
        ("stack", ".npy"),
        ("stack", ".npz"),
        ("stack", ".mat"),
        ("stack", ".hspy"),
        ("image", ".hspy"),
        ("image", ".prz"),
        ("angles", ".json"),
        ("project", ".json"),
    ],
)
def test_f15_pickles_are_never_opened(child: Child, tmp_path: Path, kind: str, suffix: str) -> None:
    refused(child, kind, with_pickle(tmp_path / f"a{suffix}"))
    assert not (tmp_path / "ran").exists()


def test_f13_a_folder_of_rubbish_gives_a_table(child: Child, tmp_path: Path) -> None:
    for i, suffix in enumerate(READS["image"]):
        hostile(tmp_path / f"tilt_{i}{suffix}")
    answer, words = child.ask("survey", tmp_path)
    assert (answer, words) == ("read", str(len(READS["image"])))


def real_files(data_folder: Path, tmp_path: Path) -> list[tuple[str, Path]]:
    """Small real files of every microscope format at hand."""
    shutil.unpack_archive(data_folder / "format_fixtures/velox_EELS_EDS.zip", tmp_path)
    exspy = pytest.importorskip("exspy")
    return [
        ("image", data_folder / "format_fixtures/EELS_SI.dm4"),
        ("image", data_folder / "L2083_edx_spectrum_images/0.bcf"),
        ("image", next(tmp_path.glob("*.emd"))),
        ("reference", data_folder / "pytemlib_eels/EELS_STO.dm3"),
        ("reference", Path(exspy.__file__).parent / "tests/components/coreloss_spectrum.msa"),
    ]


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.timeout(2400)
def test_f13_real_files_cut_and_flipped(child: Child, data_folder: Path, tmp_path: Path) -> None:
    """Silent changes are the nature of formats without checksums; crashes, hangs and foreign errors are not."""
    rng = np.random.default_rng(13)
    for kind, source in real_files(data_folder, tmp_path):
        raw = source.read_bytes()
        path = tmp_path / f"damaged{source.suffix}"
        for quarter in range(4):
            path.write_bytes(raw[: len(raw) * quarter // 4])
            answer, words = child.ask(kind, path)
            assert answer == "refused", (source.name, quarter, words)
        flips = 4 if source.suffix == ".bcf" else 40
        for place in rng.integers(0, min(len(raw), 20_000), flips):
            damaged = bytearray(raw)
            damaged[place] ^= 1 << rng.integers(8)
            path.write_bytes(damaged)
            answer, words = child.ask(kind, path)
            assert answer in {"refused", "read"}, (source.name, place, words)
