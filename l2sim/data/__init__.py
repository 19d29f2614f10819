"""Where do samples come from: data sets, their formats, and how they become light."""
