"""
C{python -m txsocks5}, which is C{txsocks5}.
"""

import sys

from .commandline import main

if __name__ == "__main__":
    sys.exit(main())
