"""The line, in order: ingest, validate, split, train, evaluate, register."""
