"""
C{txsocks5 explain}: ask a configuration about one request.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any, ClassVar

import attrs
from twisted.internet.defer import Deferred
from twisted.python import usage
from twisted.python.failure import Failure

from .assembly import assemble
from .config import COMMANDS, ConfigurationError, Rule, readConfiguration
from .explanation import Asked, Explanation, explain
from .wire import unmapped

__all__ = ["Options"]

_ALLOWED, _DENIED, _CANNOT_TELL = range(3)

_WORDS = {command: word for word, command in COMMANDS.items()}


class Options(usage.Options):
    """
    What stands behind C{txsocks5 explain}.
    """

    synopsis = "-c FILE [--user NAME] [--from ADDRESS] [--json] connect|bind|udp HOST PORT"
    longdesc = (
        "Tells what a server with the configuration FILE would say to a request, and why: for the "
        "request and for each address of HOST, the rule or default that decides, and the limits "
        "that hold.  HOST is looked up; no connection is made.  The exit status is 0 if it is "
        "allowed, 1 if it is denied, and 2 if it cannot be told."
    )

    optParameters: ClassVar = [
        ["config", "c", None, "The configuration file."],
        [
            "user",
            None,
            None,
            "Who asks.  [default: a client without authentication, or if nobody comes without, a "
            "user whom no rule knows]",
        ],
        ["from", None, None, "The address of the client.  [default: one at a UNIX socket]"],
    ]

    optFlags: ClassVar = [["json", None, "Print it as JSON."]]

    def parseArgs(self, command: str, host: str, port: str) -> None:  # type: ignore[override]
        """
        Take the request.

        @raise UsageError: it is none.
        """
        if command not in COMMANDS:
            raise usage.UsageError(f"{command!r} is none of {', '.join(COMMANDS)}")
        if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 0xFFFF):
            raise usage.UsageError(f"{port!r} is no port from 0 to 65535")
        self["command"] = command
        self["host"] = host
        self["port"] = int(port)

    def postOptions(self) -> None:
        """
        Judge the rest.

        @raise UsageError: there is no configuration, or the client can be nowhere.
        """
        if self["config"] is None:
            raise usage.UsageError("say which configuration: -c FILE")
        if self["user"] == "":
            raise usage.UsageError("nobody has an empty name")
        if self["from"] is not None:
            try:
                if "%" in self["from"]:
                    raise ValueError
                self["from"] = unmapped(ip_address(self["from"]))
            except ValueError:
                raise usage.UsageError(f"{self['from']!r} is no address") from None

    def run(self) -> int:
        """
        Do it.

        @return: the exit status.
        """
        from twisted.internet import reactor

        try:
            explanation = self._explained(reactor)
        except ConfigurationError as error:
            for line in error.lines:
                print(f"txsocks5: {line}", file=sys.stderr)
            return _CANNOT_TELL
        except KeyboardInterrupt:
            print("txsocks5: interrupted", file=sys.stderr)
            return _CANNOT_TELL
        if self["json"]:
            print(json.dumps(_asJSON(explanation)))
        else:
            for line in _asText(explanation):
                print(_printable(line))
        return _ALLOWED if explanation.allowed else _DENIED

    def _explained(self, reactor: Any) -> Explanation:
        """
        Let the reactor run until it is known.

        @raise ConfigurationError: nothing would be started with this configuration.

        @raise KeyboardInterrupt: it has been stopped before.
        """
        assembly = assemble(reactor, readConfiguration(self["config"]))
        asked = Asked(
            COMMANDS[self["command"]],
            self["host"],
            self["port"],
            self["user"] or "",
            self["from"],
        )
        outcome: list[Explanation | Failure] = []

        def begin() -> None:
            explained = Deferred.fromCoroutine(explain(reactor, assembly, asked))
            explained.addBoth(outcome.append).addBoth(lambda result: reactor.stop())

        reactor.callWhenRunning(begin)
        reactor.run()
        if not outcome:
            raise KeyboardInterrupt
        if isinstance(outcome[0], Failure):
            outcome[0].raiseException()
        explanation = outcome[0]
        assert isinstance(explanation, Explanation)
        return explanation


def _asText(explanation: Explanation) -> Iterator[str]:
    """
    Tell it to people; the last line is the result.
    """
    asked = explanation.asked
    who = asked.user or "nobody in particular"
    where = "a UNIX socket" if asked.client is None else asked.client
    yield f"{_WORDS[asked.command]} {asked.host} {asked.port}, for {who} from {where}"
    for answer in explanation.answers:
        verdict = answer.verdict
        yield f"  {answer.subject}: {_judged(verdict.allowed, verdict.reason, verdict.rule)}"
    for limit in explanation.limits:
        sessions = f"{limit.sessions} sessions" if limit.sessions else ""
        values = [value for value in (limit.bandwidth, sessions, limit.quota) if value]
        yield f"  limit of {limit.of}: {', '.join(values)}"
    result = _judged(explanation.allowed, explanation.reason, explanation.rule)
    reply = "" if explanation.reply is None else f" (REP {explanation.reply:02x})"
    yield result + reply


def _judged(allowed: bool, reason: str, rule: Rule | None) -> str:
    """
    A verdict, and what it comes from.
    """
    word = "allowed" if allowed else "denied"
    return f"{word}: {reason}" if rule is None else f'{word} by "{rule.name}"'


def _printable(line: str) -> str:
    """
    A line without anything that a terminal might take for a command.
    """
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in line)


def _asJSON(explanation: Explanation) -> dict[str, Any]:
    """
    Tell it to programs.
    """
    asked = explanation.asked
    told: dict[str, Any] = {
        "allowed": explanation.allowed,
        "reason": explanation.reason,
        "rule": explanation.rule and explanation.rule.name,
        "reply": explanation.reply,
        "command": _WORDS[asked.command],
        "host": asked.host,
        "port": asked.port,
        "user": asked.user or None,
        "from": asked.client and str(asked.client),
        "addresses": [],
        "limits": [_withoutEmpty(attrs.asdict(limit)) for limit in explanation.limits],
    }
    for answer in explanation.answers:
        verdict = answer.verdict
        one = {
            "allowed": verdict.allowed,
            "reason": verdict.reason,
            "rule": verdict.rule and verdict.rule.name,
        }
        if answer.subject in ("client", "association", "request"):
            told[answer.subject] = one
        else:
            told["addresses"].append({"address": answer.subject, **one})
    return told


def _withoutEmpty(values: dict[str, Any]) -> dict[str, Any]:
    """
    What is said, and not what is not.
    """
    return {key: value for key, value in values.items() if value}
