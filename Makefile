# Two commands on a fresh machine: `make demo` and `make test`. `make help` lists all.
# TORCH=cuda takes the CUDA build of torch instead of the CPU build; PYTHON=... chooses the interpreter; JOBS=...
# is how many processes run the tests, each with one thread.

TORCH ?= cpu
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
OUT ?= demo-output
JOBS ?= 2

PY := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
TORCH_PIN := $(shell grep '^torch==' constraints.txt)
TORCH_STAMP := .venv/.stamp-torch-$(TORCH)

# napari's settings of the person at this machine are neither read nor written
export NAPARI_CONFIG := $(CURDIR)/.venv/napari-settings.yaml
# threads that wait by spinning make torch many times slower wherever the cores are shared
export OMP_WAIT_POLICY ?= passive

.PHONY: demo test test-slow test-gpu check bench docs screenshots clean help
.DELETE_ON_ERROR:

demo: .venv/.stamp-all  ## the whole way, from simulated spectra to the measured 3-D particle (OUT=folder)
	$(PY) -m napari_dipmtv demo --out "$(OUT)"

test: .venv/.stamp-test  ## all fast tests; the window runs hidden in Xvfb
	sh scripts/system_packages.sh
	OMP_NUM_THREADS=1 $(PY) -m pytest --numprocesses $(JOBS) --dist loadfile

test-slow: .venv/.stamp-dev  ## the tests that take minutes
	sh scripts/system_packages.sh
	$(PY) -m pytest -m "slow and not gpu"

test-gpu: .venv/.stamp-test  ## the tests that need a CUDA device (install with TORCH=cuda)
	$(PY) -m pytest -m gpu

check: .venv/.stamp-dev  ## format, lint, types, layers, plugin manifest, wheel
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	PATH=".venv/bin:$$PATH" lint-imports
	$(PY) -m npe2 validate napari-dipmtv
	$(PY) -m build --wheel --outdir dist .

bench: .venv/.stamp-test  ## time the stages on this machine
	for script in benchmarks/bench_*.py; do $(PY) "$$script" || exit 1; done

docs: .venv/.stamp-test  ## make the figures of the docs again (real data: DIPMTV_DATA)
	for script in scripts/make_docs_*.py scripts/real_data.py; do $(PY) "$$script" || exit 1; done

screenshots: .venv/.stamp-test  ## photograph the window for the docs
	sh scripts/system_packages.sh
	xvfb-run -a -s "-screen 0 1600x1200x24" $(PY) scripts/screenshots.py

clean:  ## remove what was built, keep the environment
	rm -rf build dist "$(OUT)" .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

$(PY):
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer was found. On Debian: apt install python3 python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv .venv || { sh scripts/system_packages.sh python3-venv && $(PYTHON) -m venv --clear .venv; }

# Without a network and without a local wheel the next step lets pip choose a build of torch itself.
.venv/.stamp-torch-cpu: constraints.txt | $(PY)
	$(PIP) install --no-deps --retries 0 --timeout 15 "$(TORCH_PIN)" --index-url https://download.pytorch.org/whl/cpu \
		|| echo "The CPU build of torch is out of reach; pip will take its default build."
	rm -f .venv/.stamp-torch-*
	touch $@

.venv/.stamp-torch-cuda: constraints.txt | $(PY)
	$(PIP) install --no-deps --force-reinstall "$(TORCH_PIN)"
	rm -f .venv/.stamp-torch-*
	touch $@

.venv/.stamp-all .venv/.stamp-test .venv/.stamp-dev: .venv/.stamp-%: pyproject.toml hatch_build.py constraints.txt $(TORCH_STAMP)
	$(PIP) install -c constraints.txt -e ".[$*]"
	touch $@
