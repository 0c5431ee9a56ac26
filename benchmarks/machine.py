"""The line that names the machine, which each benchmark prints first."""

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from pathlib import Path

_VECTORS = (("amx_tile", "AMX"), ("avx512f", "AVX-512"), ("avx2", "AVX2"))
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine(*packages: str) -> str:
    """Return the processor, the cores that may be used, and the versions of installed packages."""
    found = versions(packages)
    return f"{processor()}, {CORES} cores" + (f", {found}" if found else "")


def processor() -> str:
    """Return the processor's name and the widest vectors that it computes with."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    found = {
        key.strip(): value.strip() for key, _, value in (each.partition(":") for each in lines)
    }
    flags = found.get("flags", "").split()
    widest = [what for flag, what in _VECTORS if flag in flags][:1]
    return " ".join([found.get("model name") or platform.machine(), *widest])


def versions(packages: Sequence[str]) -> str:
    """Return the names and versions of the installed ones of packages."""
    found = []
    for package in packages:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)
