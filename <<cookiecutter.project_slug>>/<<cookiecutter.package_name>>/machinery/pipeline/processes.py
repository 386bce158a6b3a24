"""Processes of this machine: which one this is, whether another is still there, what it may use."""

from __future__ import annotations

import os
import socket


def this() -> str:
    """The name of this process, which no other ever has: "host 4711 1764050000", its machine, its id and its start."""
    import psutil

    return f"{socket.gethostname()} {os.getpid()} {psutil.Process().create_time():.0f}"


def is_dead(process: str) -> bool:
    """Whether the process of that name (see `this`) ran on this machine and has ended."""
    import psutil

    host, number, born = process.split(" ")
    try:
        return host == socket.gethostname() and f"{psutil.Process(int(number)).create_time():.0f}" != born
    except psutil.NoSuchProcess:
        return True


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
