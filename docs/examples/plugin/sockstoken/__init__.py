"""
Authentication by a token, a private method of SOCKS5.
"""

import hmac

from twisted.plugin import IPlugin
from zope.interface import implementer

from txsocks5 import Accepted, IAuthenticator, IConversation, Identity, Refused, Step
from txsocks5.wire import IPAddress


@implementer(IPlugin, IAuthenticator, IConversation)
class Token:
    """
    Lets in whoever sends the right eight octets.
    """

    method = 0x80

    def __init__(self, token: bytes) -> None:
        self._token = token

    def conversation(self, client: IPAddress | None) -> IConversation:
        """
        Begin.  A method that has to remember something makes an object for each client.
        """
        return self

    def received(self, data: bytes) -> Step | None:
        """
        Hear what the client has sent.
        """
        if len(data) < 8:
            return None
        if hmac.compare_digest(data[:8], self._token):
            return Step(8, b"\x00", Accepted(Identity("robot", self.method)))
        return Step(8, b"\x01", Refused("wrong token"))

    def close(self) -> None:
        """
        Nothing is kept.
        """
