"""What is seen before there is a run: the splash, what compiles beside it, the start page and its recorded examples."""

__all__ = ["examples", "splash", "start", "warm"]
