"""
Tests for L{txsocks5.serving}.
"""

from __future__ import annotations

from ipaddress import ip_address

from txsocks5 import Anonymous
from txsocks5.errors import Overloaded
from txsocks5.interfaces import Identity, Question, Verdict
from txsocks5.testing import ScriptedAuthenticator
from txsocks5.wire import NO_ACCEPTABLE_METHOD, Address, Command, Method

from .served import CONNECT, GREETING, ReconfiguredTestCase, ServedTestCase, raises

CLIENT = ip_address("192.0.2.1")
ALICE = Identity("alice", 0x81)
ANYBODY = Identity("", Method.NONE)


class StandsTests(ReconfiguredTestCase):
    """
    Tests for L{Serving.stands}.
    """

    def test_nobodyYet(self) -> None:
        """
        Who has not authenticated yet may go on to do so, whatever policy says.
        """
        self.policy.client = Verdict(False, "rule 1")
        nobody = Identity("", NO_ACCEPTABLE_METHOD)
        self.assertTrue(self.serve().stands(nobody, CLIENT))
        self.assertEqual(self.policy.clients, [])

    def test_methodIsGone(self) -> None:
        """
        Nobody stands whose method is not served any more.
        """
        factory = self.serve(ScriptedAuthenticator(method=0x82))
        self.assertFalse(factory.stands(ALICE, CLIENT))
        self.assertFalse(factory.stands(ANYBODY, CLIENT))

    def test_withoutAuthentication(self) -> None:
        """
        Whom method C{00} has let in stands as long as policy admits clients of that address.
        """
        factory = self.serve()
        for admitted in (True, False):
            self.policy.client = Verdict(admitted, "rule 1")
            for client in (CLIENT, None):
                self.assertEqual(factory.stands(ANYBODY, client), admitted)
        self.assertEqual(self.policy.clients, [CLIENT, None] * 2)

    def test_method(self) -> None:
        """
        A method that cannot take back what it has said lets stand whom it has let in.
        """
        self.policy.client = Verdict(False, "rule 1")
        self.assertTrue(self.serve(ScriptedAuthenticator()).stands(ALICE, CLIENT))

    def test_revoking(self) -> None:
        """
        One that can is asked.
        """
        factory = self.serve(self.passwords(b"alice"))
        for name, stands in (("alice", True), ("bob", False)):
            identity = Identity(name, Method.PASSWORD)
            self.assertEqual(factory.stands(identity, CLIENT), stands)


class RefusalTests(ServedTestCase):
    """
    Tests for L{Serving.refusal}.
    """

    #: Where requests ask to go, and what they reach.
    THERE = Address("example.com", 80)
    REACHED = Address(ip_address("192.0.2.7"), 80)

    def ask(
        self, command: Command = Command.CONNECT, destination: Address | None = THERE
    ) -> Question:
        """
        A request of somebody whom method C{00} has let in.
        """
        return Question(ANYBODY, CLIENT, command, destination)

    def test_allowed(self) -> None:
        """
        What is allowed as before has no reason against it: policy is asked about the request, and
        about the address if one was reached.
        """
        factory = self.serve()
        question = self.ask()
        self.assertEqual(factory.refusal(question, None), "")
        self.assertEqual((self.policy.questions, self.policy.asked), ([question], []))
        self.assertEqual(factory.refusal(question, self.REACHED), "")
        self.assertEqual(self.policy.asked, [(question, self.REACHED.host)])

    def test_user(self) -> None:
        """
        Somebody who is gone is named, and policy not asked.
        """
        factory = self.serve()
        question = Question(ALICE, CLIENT, Command.CONNECT, self.THERE)
        self.assertEqual(factory.refusal(question, self.REACHED), "user 'alice' is gone")
        self.assertEqual(self.policy.questions, [])

    def test_request(self) -> None:
        """
        A request that is refused is, whatever it has reached.
        """
        self.policy.request = Verdict(False, "rule 1")
        factory = self.serve()
        for reached in (None, self.REACHED):
            self.assertEqual(factory.refusal(self.ask(), reached), "rule 1")
        self.assertEqual(self.policy.asked, [])

    def test_address(self) -> None:
        """
        So is one that has reached what is not to be reached; before it has, that is judged later.
        """
        self.policy.addresses["192.0.2.7"] = Verdict(False, "rule 2")
        factory = self.serve()
        self.assertEqual(factory.refusal(self.ask(), None), "")
        self.assertEqual(factory.refusal(self.ask(), self.REACHED), "rule 2")

    def test_association(self) -> None:
        """
        An association has no destination, and its own port is not judged as one.
        """
        self.policy.addresses["192.0.2.7"] = Verdict(False, "rule 2")
        question = self.ask(Command.UDP_ASSOCIATE, None)
        self.assertEqual(self.serve().refusal(question, self.REACHED), "")

    def test_cannotTell(self) -> None:
        """
        That it cannot be told now is passed on (S-11).
        """
        self.patch(self.policy, "judgeRequest", raises(Overloaded("no descriptor")))
        self.assertRaises(Overloaded, self.serve().refusal, self.ask(), None)


class JudgedAgainTests(ReconfiguredTestCase):
    """
    Tests for how sessions are judged again when the server begins to serve in another way.
    """

    def test_gone(self) -> None:
        """
        Users that are gone end, and so does everybody whose method is gone, whether or not there
        has been a request.
        """
        factory = self.serve(self.passwords(b"alice", b"bob"))
        callers = {}
        for name in (b"alice", b"bob"):
            for request in (b"", CONNECT):
                caller = callers[name, request] = self.call(factory)
                caller.say(b"\x05\x01\x02\x01" + bytes([len(name)]) + name + b"\x06secret")
                caller.say(request)
        self.assertEqual(self.reconfigure(factory, self.passwords(b"alice")), 2)
        self.assertReset(callers[b"bob", b""])
        self.assertReset(callers[b"bob", CONNECT])
        self.assertEqual(len(factory.sessions), 2)
        self.assertEqual(self.reconfigure(factory, Anonymous()), 2)
        self.flush()
        self.assertOver(factory)

    def test_noLongerAllowed(self) -> None:
        """
        Policy is asked about the client that has not authenticated, about the request, and about
        the address that was reached.
        """
        no = Verdict(False, "rule 2")
        for change in (
            {"client": no},
            {"request": no},
            {"addresses": {"192.0.2.7": no}},
        ):
            self.policy.client = self.policy.request = Verdict(True, "rule 1")
            self.policy.addresses = {}
            caller, target = self.connected()
            factory = next(iter(caller.connection.server.protocol.factory.sessions)).factory
            idle = self.call(factory)
            idle.say(GREETING)
            for name, value in change.items():
                setattr(self.policy, name, value)
            self.assertEqual(self.reconfigure(factory), 2 if "client" in change else 1)
            self.assertReset(caller)
            self.assertReset(target)
