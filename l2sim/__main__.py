"""`python -m l2sim` and the `l2sim` command."""

from __future__ import annotations

import gc


def main() -> None:
    """Run the command line."""
    from l2sim import blas  # late: entering the module must not import what follows it

    blas.choose()  # before anything imports NumPy
    from l2sim.cli.main import main as command  # late: behind the choice above

    try:
        command()
    finally:
        gc.freeze()  # or Python looks through all that it ever loaded once more on its way out


if __name__ == "__main__":
    main()
