# The commands: `make run` trains a photonic network on its own chip, `make gui` does so in a window, `make test` runs the
# tests.
# `make bench` measures the kernels beside what the machine can do: make bench ARGS="--quick".
# Both create .venv and install what they need. ARGS is passed on: make run ARGS="digits --seed 2".

PYTHON ?= python3
BIN := .venv/bin

.PHONY: run gui screenshots test test-pyside test-gpu test-sweep smoke bench bench-gpu lint clean

run: .venv/run.stamp
	$(BIN)/l2sim run $(ARGS)

# The window with the default preset running; `make gui ARGS=` opens its start page.
gui: ARGS ?= digits
gui: .venv/gui.stamp
	$(BIN)/l2sim-gui $(ARGS)

# The pictures of docs/desktop.md, made from runs of their own.
screenshots: .venv/gui.stamp
	$(BIN)/python -m l2sim.gui.pictures docs/images

test: .venv/dev.stamp
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile $(ARGS)

# Every preset for a few steps on synthetic data, seconds each; the tests have a handful of them.
smoke: .venv/run.stamp
	@$(BIN)/python -c "from l2sim.run.presets import PRESETS; print(*PRESETS, sep='\n')" | while read -r preset; do \
		out=$$(mktemp -d) && echo "$$preset" && $(BIN)/l2sim run "$$preset" --smoke --quiet --out "$$out" $(ARGS) </dev/null >/dev/null \
			|| exit 1; rm -rf "$$out"; done

# The tests of the window on PySide6 instead of PyQt5, in an environment of their own.
test-pyside: .venv/pyside.stamp
	PYQTGRAPH_QT_LIB=PySide6 .venv/pyside/bin/python -m pytest --numprocesses auto --dist loadfile $(ARGS) tests/test_gui*.py

# Two hundred points on every engine while processes are killed, minutes; writes docs/results/sweep.md.
test-sweep: .venv/dev.stamp
	$(BIN)/python -m l2sim.study.sweep --out docs/results $(ARGS)

# On a machine with an NVIDIA GPU: all tests, those of GPU code on the GPU instead of in Numba's simulator.
test-gpu: .venv/gpu.stamp
	L2SIM_TEST_GPU=1 $(BIN)/python -m pytest $(ARGS)

bench-gpu: .venv/gpu.stamp
	$(BIN)/python -m benchmarks --device cuda --json docs/results/bench-gpu.json $(ARGS)

bench: .venv/run.stamp
	$(BIN)/python -m benchmarks $(ARGS)

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "l2sim needs Python 3.11 or newer; name one with: make PYTHON=python3.12"; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
		|| { echo "this Python has no venv; on Debian: apt-get install python3-venv"; exit 2; }
	$(PYTHON) -m venv .venv

.venv/run.stamp: setup.cfg pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

.venv/gui.stamp: setup.cfg pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[gui]"
	touch $@

.venv/dev.stamp: setup.cfg pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@

.venv/pyside.stamp: setup.cfg pyproject.toml | .venv/bin/python
	$(BIN)/python -m venv .venv/pyside
	.venv/pyside/bin/python -m pip install --quiet --disable-pip-version-check --editable . \
		PySide6-Essentials 'pyqtgraph>=0.13.7' 'pytest>=8' 'pytest-qt>=4.4' 'pytest-xdist>=3.6' 'hypothesis>=6.100'
	touch $@

.venv/gpu.stamp: setup.cfg pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev,gpu]"
	touch $@
