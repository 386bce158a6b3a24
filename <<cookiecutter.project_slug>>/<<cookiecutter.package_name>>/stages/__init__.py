"""The stages, in the order in which they run. A stage is a function called like its module.

`store` reads what earlier stages left (`table`, `outcome`, `model`) and holds what this one writes. A stage's arguments
are its cache key: it gets the sections of the configuration that its keyword arguments name, as pytest hands out
fixtures, and it runs again when one of their values, the code that it reaches, or the stage before it has changed. An
argument annotated with a parent class of its section gets the fields of that class alone, so that a value which the
stage does not read cannot make it run. Other arguments that a stage may have: `progress`, `workspace` and `model_id`,
which are no part of the key; `champion` and `dirty`, which are; and `now`, in seconds since 1970, which makes it run
every time.
"""

STAGES = ("ingest", "validate", "split", "train", "evaluate", "register")
