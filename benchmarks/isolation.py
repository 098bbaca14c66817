"""
A network of our own: the rest of the machine neither sees what is measured nor disturbs it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_INSIDE = "TXSOCKS5_BENCHMARK_INSIDE"

#: The first port that servers and targets listen on, below those that connections come from.
FIRST_PORT = 2000

_SETTINGS = {
    "ip_local_port_range": "10000 65535",
    "tcp_tw_reuse": "1",
}


def isInside() -> bool:
    """
    Whether this process runs in namespaces of its own.
    """
    return _INSIDE in os.environ


def enter(arguments: Sequence[str]) -> None:
    """
    Become the same program in namespaces of its own for network, processes and mounts, if that can
    be done.  With the first process everything ends that it has started.

    @param arguments: the command line.
    """
    program = shutil.which("unshare")
    if isInside() or program is None or not sys.platform.startswith("linux"):
        return
    flags = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.geteuid() != 0:
        flags.insert(0, "--map-root-user")
    if subprocess.run([program, *flags, "true"], capture_output=True).returncode:
        return
    environment = {**os.environ, _INSIDE: "1"}
    sys.stdout.flush()
    os.execve(
        program,
        [program, *flags, sys.executable, "-m", "benchmarks", *arguments],
        environment,
    )


def prepare(hosts: str, folder: Path) -> list[str]:
    """
    Make the network ready: loopback up, the congestion control that most machines have, many ports.
    Without a network of our own, nothing is changed.

    @param hosts: lines for the hosts file.

    @param folder: where a file of ours can stay as long as this runs.

    @return: what could not be done, for the report.
    """
    if not isInside():
        return ["not in a network namespace of its own"]
    # The first process of a namespace is sent only what it has asked for.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    missing = []
    for command in (
        ["ip", "link", "set", "lo", "up"],
        # Only routes can choose another congestion control than the machine's.
        *(
            f"ip route replace local {where} dev lo table local proto kernel scope host "
            "src 127.0.0.1 congctl cubic".split()
            for where in ("127.0.0.0/8", "127.0.0.1")
        ),
    ):
        if not _does(command):
            missing.append(" ".join(command))
    for name, value in _SETTINGS.items():
        try:
            Path(f"/proc/sys/net/ipv4/{name}").write_text(value)
        except OSError as error:
            missing.append(f"{name}: {error.strerror}")
    names = folder / "hosts"
    names.write_text(f"127.0.0.1 localhost\n{hosts}")
    if not _does(["mount", "--bind", str(names), "/etc/hosts"]):
        missing.append("names of our own in the hosts file")
    return missing


def _does(command: Sequence[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=30).returncode == 0
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False
