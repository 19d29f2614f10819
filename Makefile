# The commands: `make run` trains a photonic network on its own chip, `make gui` does so in a window, `make test` runs the
# tests. Each sets up what it needs: a Python environment in .venv from a known set of packages (requirements/), and for
# the window the libraries of the operating system, which root gets installed and anyone else gets told how to.
# ARGS is passed on: make run ARGS="digits --seed 2". PYTHON names a Python: make test PYTHON=python3.12.

PYTHON ?=
VENV ?= .venv
BIN := $(VENV)/bin
READY := ready$(if $(PYTHON),-$(subst /,-,$(PYTHON)))
EXACT := $(if $(PYTHON),--exact)
# An environment whose Python or programs are gone, after an upgrade or a move, has nothing installed.
$(if $(wildcard $(VENV)/*.ready*),$(shell $(BIN)/l2sim --version >/dev/null 2>&1 || rm -f $(VENV)/*.ready*))
$(if $(word 2,$(PYTHON)),$(error PYTHON must be a name or a path without spaces, not "$(PYTHON)"))
PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist loadfile

.NOTPARALLEL:
.PHONY: run gui screenshots test test-display test-pyside test-pythons test-bare test-newest test-lowest test-gpu same \
	test-sweep smoke fuzz bench bench-table bench-check bench-peers bench-gpu gpu-first lint requirements clean

run: $(VENV)/run.$(READY)
	$(BIN)/l2sim run $(ARGS)

# The window with the default preset running; `make gui ARGS=` opens its start page.
gui: ARGS ?= digits
gui: $(VENV)/gui.$(READY)
	@$(BIN)/python -m l2sim.system window display
	$(BIN)/l2sim-gui $(ARGS)

# The pictures of docs/desktop.md, made from runs of their own.
screenshots: $(VENV)/gui.$(READY)
	@$(BIN)/python -m l2sim.system window
	$(BIN)/python -m l2sim.gui.window.pictures docs/images

# Without the window's libraries its tests are left out, and the last lines say so (tests/conftest.py).
test: $(VENV)/dev.$(READY)
	@$(BIN)/python -m l2sim.system window || true
	$(PYTEST) $(ARGS)

# Once more on a display: what keys, mouse and pixels are driven in.
test-display: $(VENV)/dev.$(READY)
	@$(BIN)/python -m l2sim.system window display xvfb
	QT_QPA_PLATFORM=xcb xvfb-run -a -s "-screen 0 1920x1200x24" $(BIN)/python -m pytest $(ARGS) \
		tests/gui/test_gui_window.py tests/gui/test_gui_mesh.py tests/gui/test_gui_curves.py tests/gui/test_gui_keys.py

# The tests of the window on PySide6 instead of PyQt5, in an environment of their own.
test-pyside:
	@$(MAKE) --no-print-directory .venv/pyside/pyside.$(READY) VENV=.venv/pyside
	@.venv/pyside/bin/python -m l2sim.system window pyside
	PYQTGRAPH_QT_LIB=PySide6 .venv/pyside/bin/python -m pytest --numprocesses auto --dist loadfile $(ARGS) \
		tests/gui

# Kernels, chips, flows, the window and a smoke run on every Python that this machine has and `make test` does not use.
test-pythons: $(VENV)/dev.$(READY)
	@requirements/pythons.sh $(BIN)/python

# Both commands of the README in new roots of Debian 12 and 13, as root and as an ordinary user; an hour, root only.
test-bare:
	requirements/bare.sh $(ARGS)

# All tests on the newest releases that setup.cfg allows, and which of them break something; on its lower bounds, which
# are those of the oldest Python.
test-newest:
	@rm -f .venv/newest/newest.ready*
	@$(MAKE) --no-print-directory .venv/newest/newest.$(READY) VENV=.venv/newest
	.venv/newest/bin/python requirements/newest.py $(ARGS)

test-lowest:
	@$(MAKE) --no-print-directory .venv/lowest/lowest.ready-python3.11 VENV=.venv/lowest PYTHON=python3.11
	.venv/lowest/bin/python -m pytest --numprocesses auto --dist loadfile $(ARGS)

# Two hundred points on every engine while processes are killed, minutes; writes docs/results/sweep.md.
test-sweep: $(VENV)/dev.$(READY)
	$(BIN)/python -m l2sim.study.sweep --full $(ARGS)

# Whether this checkout gives the same results as another one, byte for byte: make same OLD=DIR. Ten minutes.
same: $(VENV)/dev.$(READY)
	@$(BIN)/python -m l2sim.system window
	$(BIN)/python tests/same_results.py $(OLD) . $(ARGS)

# On a machine with an NVIDIA GPU: all tests, those of GPU code on the GPU instead of in Numba's simulator. GPU=gpu12
# for a driver of CUDA 12.
GPU ?= gpu
test-gpu: $(VENV)/$(GPU).$(READY)
	L2SIM_TEST_GPU=1 $(BIN)/python -m pytest $(ARGS)

# A few steps on synthetic data, seconds each (ResNet18: half a minute), of every preset; of the experiments of L2ight every model with every one of
# its methods and data sets. The tests have a handful of them.
smoke: $(VENV)/run.$(READY)
	@$(BIN)/python -c "from l2sim.job.presets import smoked; print(*smoked(), sep='\n')" | while read -r preset; do \
		out=$$(mktemp -d) && echo "$$preset" && $(BIN)/l2sim run "$$preset" --smoke --quiet --out "$$out" $(ARGS) </dev/null >/dev/null \
			|| exit 1; rm -rf "$$out"; done

# New examples for every test of a property, until the minutes are over: make fuzz MINUTES=60. What fails is kept in
# tests/finds and tried first from then on.
fuzz: MINUTES ?= 10
fuzz: $(VENV)/dev.$(READY)
	@$(BIN)/python -m tests.fuzz $(MINUTES)

# The kernels beside what the machine can do: make bench ARGS="--quick".
bench: $(VENV)/run.$(READY)
	$(BIN)/python -m benchmarks $(ARGS)

# The table of docs/performance.md, ten minutes on a machine that does nothing else; with PyTorch and JAX beside it, which
# get an environment of their own; and whether what l2sim's ways are to each other fell by more than 15 % since.
bench-table: $(VENV)/run.$(READY)
	$(BIN)/python -m benchmarks.table $(ARGS)

PEERS ?= torch==2.13.0 jax==0.10.2
bench-peers:
	@$(MAKE) --no-print-directory .venv/peers/run.$(READY) VENV=.venv/peers
	.venv/peers/bin/python -m pip install --quiet $(PEERS)
	.venv/peers/bin/python -m benchmarks.table --peers $(ARGS)

bench-check: $(VENV)/run.$(READY)
	$(BIN)/python -m benchmarks.table --check $(ARGS)

bench-gpu: $(VENV)/$(GPU).$(READY)
	$(BIN)/python -m benchmarks --device cuda --json docs/results/bench-gpu.json $(ARGS)

# The first twelve minutes on a GPU: installs the set that fits the driver, tests the kernels, measures, and writes
# docs/results/bench-gpu.json, row by row. make gpu-first ARGS=--rehearse goes through it in Numba's simulator.
gpu-first:
	@python=$$(requirements/python.sh $(PYTHON)) && $$python -m benchmarks.first_gpu --venv $(VENV)/gpu $(ARGS)

lint: $(VENV)/dev.$(READY)
	$(BIN)/ruff check .
	$(BIN)/mypy

# The known sets from setup.cfg's bounds: pins stay where they fit; ARGS=--upgrade takes the newest releases.
requirements:
	@python=$$(requirements/python.sh $(PYTHON)) && $$python -m venv .venv/resolve
	.venv/resolve/bin/python -m pip install --quiet --disable-pip-version-check 'uv >=0.9'
	.venv/resolve/bin/python requirements/resolve.py $(ARGS)

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment with one of the sets. Making it anew removes these files, so that nothing is taken for installed.
$(VENV)/%.$(READY): setup.cfg pyproject.toml requirements/install.py $(wildcard requirements/*.txt)
	@python=$$(requirements/python.sh $(PYTHON)) && $$python requirements/install.py $* $(VENV) $(EXACT)
	@touch $(VENV)/$*.ready $@
