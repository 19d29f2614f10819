"""What panels, the mesh view and the window share: models of runs, actions, theme, launching. No panel of its own."""
