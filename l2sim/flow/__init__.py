"""What happens to a chip from fabrication to a trained network: flows, their stages and sessions."""
