"""
A proxy beside another service of an application: C{twistd -ny application.py}.
"""

from twisted.application.internet import TimerService
from twisted.application.service import Application
from twisted.internet import reactor

from txsocks5 import DefaultPolicy, SOCKS5Factory, SOCKS5Service

factory = SOCKS5Factory(reactor, policy=DefaultPolicy(local=True))


def report() -> None:
    """
    Tell how many clients there are.
    """
    print(len(factory.sessions), "clients")


application = Application("shop")
TimerService(60, report).setServiceParent(application)
SOCKS5Service(factory, ["tcp:1080:interface=127.0.0.1"]).setServiceParent(application)
