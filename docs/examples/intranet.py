"""
A policy: the defaults of an exposed server, but the staff may reach a web server inside.
"""

from ipaddress import ip_network

from txsocks5 import DefaultPolicy, Question, Verdict
from txsocks5.wire import IPAddress

STAFF = {"alice", "bob"}
INTRANET = ip_network("10.1.0.0/16")


class Intranet(DefaultPolicy):
    """
    Lets the staff reach port 443 of the intranet.
    """

    def judgeAddress(self, question: Question, address: IPAddress) -> Verdict:
        """
        Judge one address that a request has led to.
        """
        if address in INTRANET and question.identity.name in STAFF:
            if question.destination is not None and question.destination.port == 443:
                return Verdict(True, "staff: intranet")
            return Verdict(False, "staff: only port 443 of the intranet")
        return super().judgeAddress(question, address)
