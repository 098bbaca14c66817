"""
Tests for L{txsocks5}.
"""
