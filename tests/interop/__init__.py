"""
Tests with real clients: unmodified programs and libraries against a
C{twistd socks5} in a process of its own.
"""
