"""
Which clients are installed on this machine.
"""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from importlib.util import find_spec


def program(name: str, package: str) -> str | None:
    """
    Look for a program.

    @param package: the Debian package that has the program.

    @return: why tests that need the program have to be skipped, or L{None} if
        it is there.
    """
    if shutil.which(name):
        return None
    return f"{name} is not installed (apt-get install {package})"


def library(name: str, distribution: str) -> str | None:
    """
    Look for a Python package, without importing it.

    @param name: the name that it is imported by.
    @param distribution: the name that it is installed by.

    @return: why tests that need the package have to be skipped, or L{None} if
        it is there.
    """
    if find_spec(name):
        return None
    return f"{name} is not installed (pip install {distribution})"


@cache
def netcat() -> str | None:
    """
    Look for a C{nc} that can use a SOCKS proxy, as only that of OpenBSD can.

    @return: why tests that need it have to be skipped, or L{None} if it is
        there.
    """
    reason = "the nc of OpenBSD is not installed (apt-get install netcat-openbsd)"
    if not shutil.which("nc"):
        return reason
    told = subprocess.run(["nc", "-h"], capture_output=True, text=True, timeout=30, check=False)
    return None if "-X" in told.stdout + told.stderr else reason


def chromium() -> str | None:
    """
    The command that starts Chromium, or L{None} if there is none.
    """
    for name in ("chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name)
        if found:
            return found
    return None
