"""The machinery of the pipeline, which is the template's: README.md says what is where."""
