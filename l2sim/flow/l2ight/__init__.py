"""The flow of L2ight: pretrain, calibrate, map and learn on grids of tensor cores."""
