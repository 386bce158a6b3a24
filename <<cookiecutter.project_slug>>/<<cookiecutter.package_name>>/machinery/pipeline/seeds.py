"""The global random generators, set from one number, for code that draws from them."""

import importlib
import random
from collections.abc import Collection


def plant(seed: int, *, libraries: Collection[str] = ()) -> None:
    """Seeds Python's and NumPy's global generators, and torch's and TensorFlow's where `libraries` names them."""
    import numpy as np  # here: the plan imports this module where nothing has to run

    random.seed(seed)
    np.random.seed(seed)
    if "torch" in libraries:
        importlib.import_module("torch").manual_seed(seed)
    if "tensorflow" in libraries:
        importlib.import_module("tensorflow").random.set_seed(seed)
