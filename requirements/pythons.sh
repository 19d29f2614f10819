#!/bin/sh
# Kernels, chips, flows, the window and a smoke run on every Python from 3.11 on that this machine has, each in an
# environment of its own (.venv/3.12, ...), but for the one that the given Python is.
set -eu
own=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
ran="" absent=""
tests=${TESTS:-tests/kernels/test_propagate.py tests/chip/test_chip.py tests/chip/test_protocol.py tests/flow/test_run.py \
tests/flow/test_insitu_run.py tests/cli/test_doctor.py tests/test_packaging.py tests/gui/test_gui_app.py tests/gui/test_gui_window.py \
tests/gui/test_gui_mesh.py}
for version in 3.11 3.12 3.13 3.14; do
    [ "$version" != "$own" ] || continue
    python=$(requirements/python.sh "python$version" 2>/dev/null) || { absent="$absent $version"; continue; }
    echo "== Python $version: $python"
    make --no-print-directory test VENV=".venv/$version" PYTHON="$python" ARGS="$tests"
    out=$(mktemp -d)
    ".venv/$version/bin/l2sim" run --smoke --quiet --out "$out/smoke"
    test -s "$out/smoke/report.html"
    rm -rf "$out"
    ran="$ran $version"
done
echo "passed on Python:${ran:- none but $own}; not on this machine:${absent:- none}"
