"""Rows for a registered model, how it is served, and whether a served one answers as it does here."""
