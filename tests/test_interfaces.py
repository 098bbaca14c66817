"""
Tests for L{txsocks5.interfaces}.
"""

from __future__ import annotations

import inspect
from ipaddress import IPv4Address
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Interface, Invalid, implementer
from zope.interface.interface import InterfaceClass, Method
from zope.interface.verify import verifyClass, verifyObject

from txsocks5 import interfaces, testing
from txsocks5.auth import Anonymous, PasswordAuthenticator, _PasswordConversation
from txsocks5.interfaces import (
    Accepted,
    IAuthenticator,
    IConversation,
    Identity,
    IDialer,
    IFairResolver,
    IPolicy,
    IProtection,
    IRelayObserver,
    IRelayTap,
    ISOCKSReactor,
    Question,
    Record,
    Refused,
    Step,
    Verdict,
)
from txsocks5.outgoing import TCPDialer
from txsocks5.policy import DefaultPolicy, SelfProtectingPolicy
from txsocks5.systemresolver import SystemResolver
from txsocks5.wire import Address, Command

VALUES: tuple[Any, ...] = (
    Identity("alice", 2),
    Accepted(Identity("alice", 2)),
    Refused("wrong password"),
    Step(0),
    Question(Identity("", 0), None, Command.CONNECT, Address(IPv4Address("192.0.2.1"), 80)),
    Verdict(True, "default"),
)


def everyInterface() -> dict[str, InterfaceClass]:
    """
    The interfaces of the module, by name.
    """
    return {
        name: value
        for name, value in vars(interfaces).items()
        if name in interfaces.__all__ and isinstance(value, InterfaceClass)
    }


class InterfacesTests(SynchronousTestCase):
    """
    The places where the package can be bent.
    """

    def test_listed(self) -> None:
        """
        Everything that the module defines is in its list, sorted.
        """
        defined = {
            name
            for name, value in vars(interfaces).items()
            if getattr(value, "__module__", None) == interfaces.__name__
            and (isinstance(value, type | InterfaceClass))
        }
        self.assertEqual(defined, set(interfaces.__all__))

    def test_documented(self) -> None:
        """
        Every interface and each of its methods says what it is for, and every parameter and
        result has an annotation.
        """
        for name, interface in everyInterface().items():
            self.assertTrue(interface.__doc__, name)
            for member, description in interface.namesAndDescriptions():
                self.assertTrue(description.__doc__, f"{name}.{member}")
        for name in set(everyInterface()) - {"ISOCKSReactor"}:
            source = inspect.getsource(inspect.getmodule(Accepted)).split(f"class {name}(")[1]  # type: ignore[arg-type]
            source = source.split("\nclass ")[0]
            for line in source.splitlines():
                if line.strip().startswith("def "):
                    self.assertIn("->", line, name)

    def test_parametersDocumented(self) -> None:
        """
        What is described in a docstring is a parameter of the method.
        """
        for name, interface in everyInterface().items():
            if name == "ISOCKSReactor":
                continue
            for member, description in interface.namesAndDescriptions():
                if isinstance(description, Method):
                    doc = description.__doc__ or ""
                    described = [part.split(":")[0] for part in doc.split("@param ")[1:]]
                    for parameter in described:
                        self.assertIn(parameter, description.positional, f"{name}.{member}")

    def test_providers(self) -> None:
        """
        What comes with the package provides what it says.
        """
        for interface, kind in (
            (IAuthenticator, Anonymous),
            (IConversation, Anonymous),
            (IAuthenticator, PasswordAuthenticator),
            (IConversation, _PasswordConversation),
            (IPolicy, DefaultPolicy),
            (IPolicy, SelfProtectingPolicy),
            (IFairResolver, SystemResolver),
            (IDialer, TCPDialer),
            (IConversation, testing.ScriptedConversation),
            (IProtection, testing.PrivateProtection),
            (IRelayObserver, testing.RecordedTraffic),
        ):
            self.assertTrue(verifyClass(interface, kind), f"{kind} as {interface}")

    def test_yours(self) -> None:
        """
        A provider with a method too few, or with other parameters, is found out.
        """

        @implementer(IRelayTap)
        class Tap:
            def passed(self, fromClient: bool) -> None:
                """
                Forget two parameters.
                """

        self.assertRaises(Invalid, verifyObject, IRelayTap, Tap())

    def test_reactor(self) -> None:
        """
        The reactor provides everything that is used of a reactor.
        """
        from twisted.internet import reactor

        for interface in ISOCKSReactor.__bases__:
            self.assertTrue(interface.providedBy(reactor), interface)

    def test_allAreInterfaces(self) -> None:
        """
        What begins with an I and a capital is an interface.
        """
        for name in interfaces.__all__:
            if name[0] == "I" and name[1].isupper():
                self.assertTrue(everyInterface()[name].extends(Interface), name)


class ValuesTests(SynchronousTestCase):
    """
    What is passed across.
    """

    def test_frozen(self) -> None:
        """
        Nobody can change what was said.
        """
        for value in VALUES:
            for field in attrs.fields(type(value)):
                with self.assertRaises(attrs.exceptions.FrozenInstanceError):
                    setattr(value, field.name, None)

    def test_equal(self) -> None:
        """
        Values with the same content are equal, and can be keys.
        """
        for value in VALUES:
            self.assertEqual(value, attrs.evolve(value))
            self.assertEqual({value: 1}[attrs.evolve(value)], 1)

    def test_fieldsDocumented(self) -> None:
        """
        Every field is explained.
        """
        for value in VALUES:
            for field in attrs.fields(type(value)):
                self.assertIn(f"@ivar {field.name}:", type(value).__doc__)

    def test_defaults(self) -> None:
        """
        By default nothing is protected, nothing is sent, and no user name was claimed.
        """
        self.assertIsNone(Accepted(Identity("", 0)).protection)
        self.assertEqual((Step(3).send, Step(3).outcome), (b"", None))
        self.assertEqual(Refused("no").username, "")


class RecordTests(SynchronousTestCase):
    """
    Tests for L{Record}.
    """

    def test_command(self) -> None:
        """
        The command is told by its name, and by none as long as there has been no request.
        """
        record = Record(1, 0.0)
        self.assertEqual(record.command, "request")
        for command, name in (
            (Command.CONNECT, "CONNECT"),
            (Command.BIND, "BIND"),
            (Command.UDP_ASSOCIATE, "UDP_ASSOCIATE"),
        ):
            record.question = Question(Identity("", 0), None, command, None)
            self.assertEqual(record.command, name)
