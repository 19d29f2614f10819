"""The report of a run."""
import json

from l2sim.run import checkpoint as checkpoints


def write(out, report, figures):
    checkpoints.replace(out / "report.json", json.dumps(report, indent=2).encode())
    checkpoints.replace(out / "figures.json", json.dumps(figures).encode())
