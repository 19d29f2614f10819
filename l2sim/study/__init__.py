"""Studies of the chips: what their imperfections do, each with a figure and a table made by one command."""
