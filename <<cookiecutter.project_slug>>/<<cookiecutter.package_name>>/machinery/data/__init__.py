"""Tables: how they are read, typed, held to expectations, split, and guarded against leakage."""
