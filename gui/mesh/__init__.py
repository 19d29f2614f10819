"""The view of a mesh: geometry, light, values, colours and drawing."""
