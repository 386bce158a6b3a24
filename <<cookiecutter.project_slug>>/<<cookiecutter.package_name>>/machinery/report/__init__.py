"""Figures, report and model card, and the sentences that people read."""
