"""How are phases found by measuring losses: zeroth-order searches, calibration, mapping, self-configuration."""
