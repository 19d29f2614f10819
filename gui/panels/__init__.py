"""The panels beside the mesh, each a view of the selection."""
