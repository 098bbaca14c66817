"""
Every log event: its name, its level, its text and its fields.

An event is emitted through a L{twisted.logger.Logger}; it carries C{socks_event}
with its name beside the fields listed here.  Text from strangers (user names, host
names, reasons) is escaped and cut before it is logged; passwords and relayed data
are never logged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import attrs
from twisted.logger import Logger, LogLevel

__all__ = ["EVENTS", "Emitter", "Event", "Line", "escaped"]

_MAX_TEXT = 255


def escaped(text: str) -> str:
    """
    Make text from a stranger fit for a log: printable ASCII on one line, cut to 255
    characters.
    """
    if len(text) > _MAX_TEXT:
        text = text[:_MAX_TEXT] + "..."
    if text.isascii() and text.isprintable():
        return text
    return text.encode("unicode_escape").decode("ascii")


class Line(str):
    """
    Text that was made fit for a log before, and is not cut.
    """

    __slots__ = ()


@attrs.frozen
class Event:
    """
    A kind of log event.

    @ivar name: what its C{socks_event} field says.

    @ivar level: at which level it is logged.

    @ivar format: its text.

    @ivar fields: the names of its fields, and what each of them means.
    """

    name: str
    level: Any
    format: str
    fields: Mapping[str, str]

    def emit(self, log: Logger, **values: object) -> None:
        """
        Log this event.

        @param values: the fields.  Text among them is escaped.
        """
        for key, value in values.items():
            if isinstance(value, str) and not isinstance(value, Line):
                values[key] = escaped(value)
        log.emit(self.level, self.format, socks_event=self.name, **values)


class Emitter(Protocol):
    """
    Logs events of one session.
    """

    def __call__(self, event: Event, **fields: object) -> None:
        """
        Log C{event}.
        """


_SESSION: dict[str, str] = {"session": "a number that all events of one connection share"}

listening = Event(
    "listening",
    LogLevel.info,
    "SOCKS5 listening on {address}",
    {"address": "host and port, or unix: and a path"},
)

notListening = Event(
    "notListening",
    LogLevel.critical,
    "SOCKS5 not listening: {reason}",
    {"reason": "what kept an endpoint from it that has taken its time to find out"},
)

offering = Event(
    "offering",
    LogLevel.info,
    "SOCKS5 methods, the preferred first: {methods}",
    {"methods": "the number of each authentication method, and what provides it"},
)

dubious = Event(
    "dubious",
    LogLevel.warn,
    "SOCKS5 configuration: {doubt}",
    {"doubt": "what may not be meant; the server starts all the same"},
)

ready = Event(
    "ready",
    LogLevel.info,
    "SOCKS5 ready; try it: curl --proxy {url} https://example.com/",
    {"url": "the address of the first listener, as curl takes it; not logged if curl cannot"},
)

crowded = Event(
    "crowded",
    LogLevel.info,
    "turned away {client}: {limit} connections of that address have not said yet what they want "
    "({count} turned away since this was logged last)",
    {
        "client": "the address that connected last",
        "limit": "how many such connections it may have, an IPv6 /64 together",
        "count": "connections of all addresses that were turned away since the last event of this "
        "name; there is one in 10 seconds at the most",
    },
)

reloaded = Event(
    "reloaded",
    LogLevel.info,
    "configuration reloaded; changed: {changed}; {ended} sessions ended",
    {
        "changed": "the keys with other values than before",
        "ended": "how many sessions are no longer allowed",
    },
)

notReloaded = Event(
    "notReloaded",
    LogLevel.critical,
    "configuration not reloaded, everything stays as it was: {reason}",
    {"reason": "what is wrong with it; there is an event for each fault"},
)

exhausted = Event(
    "exhausted",
    LogLevel.critical,
    "no client can be accepted for now: {reason}",
    {"reason": "what the system says; those that come wait"},
)

quotaOver = Event(
    "quotaOver",
    LogLevel.info,
    "quota: {quota} of {owner} is used up until {until}; its sessions are closed",
    {
        "owner": "user and a name, or rule and a name",
        "quota": "as the configuration has it",
        "until": "when it begins again, in UTC",
    },
)

quotasNotSaved = Event(
    "quotasNotSaved",
    LogLevel.critical,
    "quotas cannot be saved, and are tried again every second: {reason}",
    {
        "reason": "the database, and what is wrong with it; logged once until they are saved "
        "again, and once more if the server stops before"
    },
)

quotasSaved = Event(
    "quotasSaved",
    LogLevel.info,
    "quotas are saved again; nothing is missing",
    {},
)

nameServerSilent = Event(
    "nameServerSilent",
    LogLevel.warn,
    "name server {server} does not answer; the next one is asked",
    {"server": "address and port"},
)

nameServerBack = Event(
    "nameServerBack",
    LogLevel.info,
    "name server {server} answers again",
    {"server": "address and port"},
)

opened = Event(
    "opened",
    LogLevel.info,
    "session {session}: opened by {client}",
    _SESSION | {"client": "address and port of the client, or unix"},
)

authenticated = Event(
    "authenticated",
    LogLevel.info,
    "session {session}: user '{user}' by method {method}",
    _SESSION | {"user": "the user's name; empty for nobody in particular", "method": "its number"},
)

unauthenticated = Event(
    "unauthenticated",
    LogLevel.info,
    "session {session}: not authenticated: {reason} (user '{user}')",
    _SESSION | {"user": "the user name that was claimed, if any", "reason": "why not"},
)

malformed = Event(
    "malformed",
    LogLevel.info,
    "session {session}: protocol error: {reason}",
    _SESSION | {"reason": "what was wrong with the client's octets"},
)

granted = Event(
    "granted",
    LogLevel.info,
    "session {session}: {command} {destination}: granted ({reason}), at {address}",
    _SESSION
    | {
        "command": "CONNECT, BIND or UDP_ASSOCIATE",
        "destination": "the destination as asked",
        "reason": "the rule or default that allowed it",
        "address": "the address and port that was connected to, that connected to a BIND "
        "listener, or at which datagrams are taken",
    },
)

refused = Event(
    "refused",
    LogLevel.info,
    "session {session}: {command} {destination}: refused with REP {reply}: {reason}",
    _SESSION
    | {
        "command": "CONNECT, BIND or UDP_ASSOCIATE; request, if it could not be read",
        "destination": "the destination as asked",
        "reply": "the reply code",
        "reason": "the rule or default that refused it, or what failed",
    },
)

awaiting = Event(
    "awaiting",
    LogLevel.info,
    "session {session}: BIND {destination}: waiting at {address}",
    _SESSION | {"destination": "the expected peer", "address": "where the server listens"},
)

stranger = Event(
    "stranger",
    LogLevel.info,
    "session {session}: BIND: turned away {peer}: {reason}",
    _SESSION | {"peer": "who connected", "reason": "why it was not let in"},
)

closed = Event(
    "closed",
    LogLevel.info,
    "session {session}: closed after {duration:.3f} s: {reason} "
    "({fromClient} octets from the client, {toClient} to it, {dropped} datagrams dropped)",
    _SESSION
    | {
        "duration": "seconds since it was opened",
        "reason": "why it ended",
        "fromClient": "octets of payload relayed from the client",
        "toClient": "octets of payload relayed to the client",
        "dropped": "datagrams of an association that were not relayed",
    },
)

accessLogLost = Event(
    "accessLogLost",
    LogLevel.critical,
    "the access log cannot be written, and sessions are missing from it: {reason}",
    {"reason": "what the system said"},
)

accessLogAgain = Event(
    "accessLogAgain",
    LogLevel.info,
    "the access log is written again; {lines} sessions are missing from it",
    {"lines": "how many"},
)

checkerBroken = Event(
    "checkerBroken",
    LogLevel.critical,
    "password checker {checker} failed",
    {
        "checker": "the checker, as it shows itself",
        "log_failure": "the failure; a log of text shows its traceback",
    },
)

unforeseen = Event(
    "unforeseen",
    LogLevel.critical,
    "an error that nobody has foreseen, while a connection was looked after",
    {"log_failure": "the failure; a log of text shows its traceback"},
)

passwordsRead = Event(
    "passwordsRead",
    LogLevel.info,
    "{users} users in {path}",
    {"path": "the password file", "users": "how many entries it has"},
)

passwordsDoubtful = Event(
    "passwordsDoubtful",
    LogLevel.warn,
    "{doubt}",
    {"doubt": "what is doubtful about a password file, with the number of the line"},
)

passwordsKept = Event(
    "passwordsKept",
    LogLevel.critical,
    "password file {path} cannot be used: {reason}; what it said before holds",
    {"path": "the password file", "reason": "what is wrong with it by now"},
)

keytabReadable = Event(
    "keytabReadable",
    LogLevel.warn,
    "anybody on this machine can read the keytab {keytab}, and so be taken for the proxy, or for "
    "any of its users: chmod o-r",
    {"keytab": "its path"},
)

pamFailed = Event(
    "pamFailed",
    LogLevel.critical,
    "PAM cannot tell about a user (service {service}): {reason}",
    {"service": "the service whose configuration it used", "reason": "what it says itself"},
)

workerStarted = Event(
    "workerStarted",
    LogLevel.info,
    "worker {worker} started, process {pid}",
    {"worker": "its number, which no other gets", "pid": "its process"},
)

workerLost = Event(
    "workerLost",
    LogLevel.critical,
    "{reason}; another will be started in {delay:.1f} s",
    {
        "reason": "which worker has died and how, or what keeps one from being started",
        "delay": "seconds until then",
    },
)

workerHung = Event(
    "workerHung",
    LogLevel.critical,
    "worker {worker} (process {pid}) has not answered for {seconds} s, and is killed",
    {"worker": "its number", "pid": "its process", "seconds": "about how long"},
)

workersFailed = Event(
    "workersFailed",
    LogLevel.critical,
    "no worker can serve, and the server ends: {reason}",
    {"reason": "how the last of them has died; what it said itself is in the log before"},
)

workerSaid = Event(
    "workerSaid",
    LogLevel.info,
    "worker {worker}: {line}",
    {"worker": "its number", "line": "a line of its log, as it stands there"},
)

workerRefused = Event(
    "workerRefused",
    LogLevel.critical,
    "this worker cannot serve by the configuration: {reason}",
    {"reason": "what is wrong with it; what it served by before, if it did, holds"},
)

workersReloaded = Event(
    "workersReloaded",
    LogLevel.info,
    "the workers are told to serve by the new configuration, changed: {changed}",
    {"changed": "the keys with other values"},
)

broken = Event(
    "broken",
    LogLevel.critical,
    "session {session}: an error that nobody has foreseen",
    _SESSION | {"log_failure": "the failure; a log of text shows its traceback"},
)

EVENTS = (
    listening,
    notListening,
    offering,
    dubious,
    ready,
    crowded,
    reloaded,
    notReloaded,
    exhausted,
    quotaOver,
    quotasNotSaved,
    quotasSaved,
    nameServerSilent,
    nameServerBack,
    opened,
    authenticated,
    unauthenticated,
    malformed,
    granted,
    refused,
    awaiting,
    stranger,
    closed,
    accessLogLost,
    accessLogAgain,
    checkerBroken,
    unforeseen,
    passwordsRead,
    passwordsDoubtful,
    passwordsKept,
    keytabReadable,
    pamFailed,
    workerStarted,
    workerLost,
    workerHung,
    workersFailed,
    workerSaid,
    workerRefused,
    workersReloaded,
    broken,
)
"""
All events there are.
"""
