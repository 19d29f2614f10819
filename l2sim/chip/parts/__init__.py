"""What stands on a chip, part by part: which of its commands and of its light each kind of device really passes on."""

__all__ = ["attenuators", "drawn", "given", "heat", "observed", "optics", "ports"]
