"""Where things lie: the repository's folders, and real data and golden numbers, which are not in it."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCS, EXAMPLES = ROOT / "docs", ROOT / "examples"
BESIDE = ROOT.parent / "shared"
DATA = Path(os.environ.get("L2SIM_DATA") or BESIDE / "data")
INSITU = Path(os.environ.get("INSITU_GOLDEN", BESIDE / "golden" / "insitu"))
