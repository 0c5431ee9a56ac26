"""A file system without locks, played by a small library that answers for the C library."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
static int refuse(void) { errno = atoi(getenv("LOCK_ERRNO")); return -1; }
int flock(int file, int operation) { return refuse(); }
int fcntl64(int file, int command, ...) {
  static int (*real)(int, int, ...);
  va_list rest; va_start(rest, command); void *value = va_arg(rest, void *); va_end(rest);
  if (command == F_SETLK || command == F_SETLKW || command == F_GETLK) return refuse();
  if (!real) real = dlsym(RTLD_NEXT, "fcntl64");
  return real(file, command, value);
}
int fcntl(int file, int command, ...) {
  va_list rest; va_start(rest, command); void *value = va_arg(rest, void *); va_end(rest);
  return fcntl64(file, command, value);
}
"""


def environment(folder: Path, number: int) -> dict[str, str]:
    """Return the environment of a process in which each lock fails with an error number."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs Linux and a C compiler to play a file system without locks")
    source, library = folder / "no_locks.c", folder / "no_locks.so"
    source.write_text(_SOURCE)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return os.environ | {"LD_PRELOAD": str(library), "LOCK_ERRNO": str(number)}
