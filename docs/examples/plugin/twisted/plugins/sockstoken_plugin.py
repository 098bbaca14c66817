"""
Offers the method of L{sockstoken} to every C{twistd socks5}.
"""

from sockstoken import Token

token = Token(b"sesame!!")
