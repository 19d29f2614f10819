"""New random examples for every test of a property, one file after the other, until the time is over.

    python -m tests.fuzz MINUTES

Each round takes other examples. What fails is printed with the line that brings it back (`@reproduce_failure`), is kept
in tests/finds and tried first in later rounds; as a test for ever it becomes an `@example`. Exit code 1 if any failed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

TESTS = Path(__file__).parent


def main(minutes: float) -> int:
    """Rounds until `minutes` are over. The number of rounds of files that failed."""
    end, rounds, failed = time.monotonic() + 60 * minutes, 0, 0
    files = [path for path in sorted(TESTS.rglob("test_*.py")) if "from hypothesis" in path.read_text(encoding="utf-8")]
    while time.monotonic() < end:
        path = files[rounds % len(files)]
        line = [sys.executable, "-m", "pytest", "-q", "-m", "hypothesis", str(path)]
        try:
            done = subprocess.run(
                line, env=os.environ | {"L2SIM_FUZZ": "1"}, cwd=TESTS.parent, timeout=max(1.0, end - time.monotonic())
            ).returncode
        except subprocess.TimeoutExpired:
            break
        rounds += 1
        if done not in (0, 5):  # 5: this file has none that it can run here
            failed += 1
            where = path.relative_to(TESTS.parent)
            print(f"{where} failed; what failed is kept in tests/finds", flush=True)
    print(f"{rounds} rounds of {len(files)} files in {minutes:g} minutes: {failed} failed")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])))
