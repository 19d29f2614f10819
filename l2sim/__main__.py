"""`python -m l2sim` and the `l2sim` command."""

from __future__ import annotations


def main() -> None:
    from l2sim import blas

    blas.prepare()  # before anything imports NumPy
    from l2sim.cli.main import main as command

    command()


if __name__ == "__main__":
    main()
