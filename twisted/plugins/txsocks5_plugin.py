"""
The C{socks5} command of C{twistd}, and the checkers of passwords that txsocks5 has beside those of
Twisted.

This module is imported whenever anybody lists the plugins of C{twistd}, so it names the modules and
imports nothing of the package.
"""

from twisted.application.service import ServiceMaker
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.strcred import ICheckerFactory
from twisted.plugin import IPlugin
from twisted.python.reflect import namedAny
from zope.interface import implementer

txsocks5 = ServiceMaker(
    "SOCKS5 proxy",
    "txsocks5.tap",
    "A SOCKS5 proxy server (RFC 1928): CONNECT, BIND and UDP ASSOCIATE.",
    "socks5",
)


@implementer(ICheckerFactory, IPlugin)
class CheckerMaker:
    """
    What C{--auth} takes: a kind of checker, whose module is imported when it is asked for.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, authType: str, module: str, argStringFormat: str, authHelp: str) -> None:
        """
        @param authType: what stands before the colon.

        @param module: the name of the module with a function C{checkerOf}, which is called with
            what stands behind the colon.

        @param argStringFormat: what that is, in a few words.

        @param authHelp: all that there is to know.
        """
        self.authType = authType
        self.argStringFormat = argStringFormat
        self.authHelp = authHelp
        self._module = module

    def generateChecker(self, argument: str) -> ICredentialsChecker:
        """
        Make a checker.
        """
        made: ICredentialsChecker = namedAny(f"{self._module}.checkerOf")(argument)
        return made


htpasswd = CheckerMaker(
    "htpasswd",
    "txsocks5.htpasswd",
    "A file of users, as Apache's htpasswd and 'txsocks5 passwd' write it.",
    """
Each line of the file is 'name:hash'.  The hashes may be of Argon2, bcrypt ($2a$, $2b$, $2y$),
SHA-crypt ($5$, $6$) and Apache's MD5 ($apr1$).  Passwords in clear and {SHA} do not do: such a user
cannot log in.  Nobody but the owner may be able to write to the file.  It is read again when it has
changed.

This needs pip install 'txsocks5[htpasswd]'.
""",
)

pam = CheckerMaker(
    "pam",
    "txsocks5.pam",
    "The PAM service, a file in /etc/pam.d; 'txsocks5' if none is given.",
    """
The users of the system, and whoever else its PAM knows.  PAM is asked about the password and the
account each time anew.

This needs pip install 'txsocks5[pam]'.
""",
)
