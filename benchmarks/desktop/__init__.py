"""What the window costs: its first seconds, its frames, clicks and memory."""
