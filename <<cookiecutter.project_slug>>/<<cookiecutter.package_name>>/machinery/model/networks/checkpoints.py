"""Nested values with tensors as the bytes of a safetensors file: reading them runs no code, whoever wrote them.

Source: https://github.com/huggingface/safetensors
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

VALUE = "value"  # the tensor that holds the rest, as JSON


def pack(value: Any) -> bytes:
    """`value`, dicts, lists and tuples of tensors, numbers, texts and None, as bytes. Raises TypeError for others."""
    import torch
    from safetensors import torch as safetensors

    tensors: dict[str, torch.Tensor] = {}

    def plain(each: Any) -> Any:
        if isinstance(each, torch.Tensor):
            tensors[str(len(tensors))] = each.detach().cpu().contiguous().clone()
            return {"tensor": str(len(tensors) - 1)}
        if isinstance(each, dict):
            return {"dict": [[plain(name), plain(inner)] for name, inner in each.items()]}
        if isinstance(each, list | tuple):
            return {type(each).__name__: list(map(plain, each))}
        if each is None or isinstance(each, str | int | float):
            return each
        raise TypeError(f"a checkpoint holds tensors, numbers and texts, and no {type(each).__name__}")

    text = as_tensor(json.dumps(plain(value)).encode())
    return safetensors.save({VALUE: text, **tensors})


def as_tensor(data: bytes) -> Any:
    """`data` as a tensor."""
    import torch

    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def unpack(data: bytes) -> Any:
    """What `pack` was given. Raises ValueError for bytes that it did not make."""
    import safetensors.torch

    def nested(each: Any) -> Any:
        if not isinstance(each, dict):
            return each
        [(kind, inner)] = each.items()
        if kind == "tensor":
            return tensors[inner]
        if kind == "dict":
            return {nested(name): nested(one) for name, one in inner}
        return {"list": list, "tuple": tuple}[kind](map(nested, inner))

    try:
        tensors = safetensors.torch.load(data)
        return nested(json.loads(tensors.pop(VALUE).numpy().tobytes()))
    except (safetensors.SafetensorError, LookupError, AttributeError, TypeError) as error:
        raise ValueError(f"these are no weights of a network: {type(error).__name__}: {error}") from error


def keep(file: Path, value: Any) -> None:
    """Keeps `value` in `file`: a kill leaves the one before, or this one whole."""
    draft = file.with_suffix(".draft")
    draft.write_bytes(pack(value))
    os.replace(draft, file)
