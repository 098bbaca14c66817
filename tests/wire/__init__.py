"""
Tests for L{txsocks5.wire}.
"""
