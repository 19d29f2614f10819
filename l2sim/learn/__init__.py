"""How a chip learns: pretrain, deploy, calibrate, map, learn. Uses only what a lab can do (`chip.protocol`)."""
