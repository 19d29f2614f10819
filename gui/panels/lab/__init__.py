"""What does a laboratory have before it: what drives every heater, what every port reads?"""

__all__ = ["heaters", "ports"]
