"""
Established GSSAPI contexts of a realm of our own, for tests.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

__all__ = [
    "CONFIDENTIALITY",
    "DELEGATION",
    "INTEGRITY",
    "MUTUAL",
    "REPLAY",
    "SEQUENCE",
    "USUAL",
    "initiator",
    "pair",
]

# Of RFC 2744.
DELEGATION = 1
MUTUAL = 2
REPLAY = 4
SEQUENCE = 8
CONFIDENTIALITY = 16
INTEGRITY = 32

#: What most initiators ask for.
USUAL = MUTUAL | REPLAY | SEQUENCE | CONFIDENTIALITY | INTEGRITY


def initiator(
    service: str = "socks@localhost", flags: int = USUAL, tickets: Path | None = None
) -> Any:
    """
    A context at its beginning, on the side that the user is on, in the realm that this process
    lives in.

    @param tickets: whose tickets to use; by default those of the realm's user.
    """
    import gssapi

    store = {"ccache": str(tickets or os.environ["KRB5CCNAME"])}
    return gssapi.SecurityContext(
        name=gssapi.Name(service, gssapi.NameType.hostbased_service),
        creds=gssapi.Credentials(usage="initiate", store=store),
        mech=gssapi.MechType.kerberos,
        flags=flags,
        usage="initiate",
    )


def pair(flags: int = USUAL) -> tuple[Any, Any]:
    """
    Both sides of a context that stands.

    @return: the initiator's, and the acceptor's.
    """
    import gssapi

    near = initiator(flags=flags)
    far = gssapi.SecurityContext(usage="accept")
    token = far.step(near.step())
    if flags & MUTUAL:
        near.step(token)
    assert near.complete and far.complete
    return near, far
