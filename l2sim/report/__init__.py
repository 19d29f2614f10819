"""How is a run told: its page, figures, bill and savings."""
