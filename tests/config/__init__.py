"""
Tests for L{txsocks5.config}.
"""
