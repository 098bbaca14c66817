"""
Measures txsocks5 beside other SOCKS5 servers, all in the same run on the same core.

C{python -m benchmarks --help} lists what it can do; C{docs/performance.rst} says how it is done.
"""
