"""A table of data to a validated, evaluated, registered model."""
