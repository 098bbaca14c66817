"""
What rules cost a request, and a server that starts with them::

    python -m benchmarks.rules

Each server is asked what the real one asks about a CONNECT: about the request, and about its one
address.  What is counted is processor time, of the fastest of several rounds, because others use
the machine as well.  C{vs. none} is the factor to a server without rules, by address.  Each row is
measured in a process of its own; its memory is what that process has more than before.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from multiprocessing import get_context

from txsocks5.config import Rule, readPattern
from txsocks5.interfaces import Identity, IPolicy, Question
from txsocks5.policy import DefaultPolicy
from txsocks5.rules import RulePolicy
from txsocks5.wire import Address, Command, IPAddress, Method

ROUNDS = 15
QUESTIONS = 2000

CONNECT = frozenset({Command.CONNECT})
TARGET = IPv4Address("8.8.4.4")
FIRST = int(IPv4Address("11.0.0.0"))
MILLION = 1_000_000


def several(count: int) -> list[Rule]:
    """
    Rules for users, names, networks and ports, of which the last allows what is asked for.
    """
    rules = [
        Rule(
            name=f"rule {number}",
            allow=CONNECT,
            users=(f"user{number}",),
            to=(
                readPattern(f"*.host{number}.example"),
                readPattern(f"{IPv4Address(FIRST + number * 256)}/24"),
            ),
            ports=(range(443, 444), range(8000, 9000)),
        )
        for number in range(count - 1)
    ]
    return [*rules, Rule(name="last", allow=CONNECT)]


def denying(texts: Iterator[str]) -> list[Rule]:
    """
    A rule that denies a long list, and one that allows.
    """
    to = tuple(map(readPattern, texts))
    return [Rule(name="list", deny=CONNECT, to=to), *several(1)]


def rulesOf(kind: str) -> list[Rule]:
    """
    The rules of a row.
    """
    if kind == "names":
        return denying(f"*.host{number:07}.example" for number in range(MILLION))
    if kind == "networks":
        return denying(f"{IPv4Address(FIRST + number * 512)}/24" for number in range(MILLION))
    return several(int(kind))


def memory() -> float:
    """
    What this process has, in MiB.
    """
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20


def microseconds(policy: IPolicy, host: IPAddress | str) -> float:
    """
    What it takes to judge a request.
    """
    alice = Identity("alice", Method.PASSWORD)
    client = IPv4Address("198.51.100.7")
    questions = [
        Question(alice, client, Command.CONNECT, Address(host, 443)) for _ in range(QUESTIONS)
    ]
    fastest = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for question in questions:
            assert policy.judgeRequest(question).allowed
            policy.judgeAddress(question, TARGET)
        fastest = min(fastest, time.process_time() - began)
    return fastest / QUESTIONS * 1e6


def measured(kind: str) -> tuple[float, float, float, float, float]:
    """
    Measure one server.

    @return: seconds to read the rules and to put them into indexes, MiB, and microseconds for a
        request by address and by name.
    """
    before, began = memory(), time.process_time()
    rules = [] if kind == "0" else rulesOf(kind)
    read = time.process_time()
    policy: IPolicy = RulePolicy(rules, {}) if rules else DefaultPolicy()
    built = time.process_time()
    gc.collect()
    return (
        read - began,
        built - read,
        memory() - before,
        microseconds(policy, TARGET),
        microseconds(policy, "dns.example.com"),
    )


ROWS: dict[str, str] = {
    "no rules": "0",
    "1 rule": "1",
    "100 rules": "100",
    "10,000 rules": "10000",
    "1,000,000 names in a rule": "names",
    "1,000,000 networks in a rule": "networks",
}


def main(say: Callable[[str], object] = print) -> int:
    """
    Measure all of them.
    """
    say(
        f"{'':28} {'read s':>7} {'index s':>7} {'MiB':>5}"
        f" {'address us':>10} {'name us':>7} {'vs. none':>8}"
    )
    none = 0.0
    # Memory that has been used once would not count again.
    with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for title, kind in ROWS.items():
            read, index, size, address, name = pool.apply(measured, (kind,))
            none = none or address
            say(
                f"{title:28} {read:7.2f} {index:7.2f} {size:5.0f}"
                f" {address:10.1f} {name:7.1f} {address / none:8.2f}"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
