"""How fast l2sim is on this machine, beside what the machine can do: `python -m benchmarks` or `make bench`.

A file a family of cases. A case is a function of a `Bench` that yields `Measurement`s; nothing here asserts a time.
"""
