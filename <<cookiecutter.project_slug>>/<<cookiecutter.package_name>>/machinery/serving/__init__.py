"""Rows for a registered model, and whether a served one answers as it does here."""
