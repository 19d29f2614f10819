"""How do runs differ: their jobs, their curves at the same epoch, their light, their gradients?"""

__all__ = ["compare", "pages"]
