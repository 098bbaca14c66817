"""
An observer: counts for each user what has been relayed.
"""

from collections import Counter

from zope.interface import implementer

from txsocks5 import Address, IRelayObserver, IRelayTap, Question


@implementer(IRelayObserver)
class Volume:
    """
    Counts octets.
    """

    def __init__(self) -> None:
        self.octets: Counter[str] = Counter()

    def began(self, question: Question) -> IRelayTap | None:
        """
        A session begins to relay; return None for one that is of no interest.
        """
        return _Session(self.octets, question.identity.name)


@implementer(IRelayTap)
class _Session:
    """
    The traffic of one session.
    """

    def __init__(self, octets: Counter[str], name: str) -> None:
        self._octets = octets
        self._name = name

    def passed(self, fromClient: bool, peer: Address, data: bytes) -> None:
        """
        Some data pass; they cannot be changed here.
        """

    def ended(self, fromClient: int, toClient: int) -> None:
        """
        The session is over.
        """
        self._octets[self._name] += fromClient + toClient
