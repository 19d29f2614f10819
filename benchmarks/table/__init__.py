"""The table of docs/performance.md: what users run, beside its limits and, where they are installed, beside others."""
