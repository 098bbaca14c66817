"""
The measurement of sealed streams, which takes a real KDC and a real server.
"""

from __future__ import annotations

import sys

from ..kerberos import whyNoRealm
from ._proxy import SOURCE, InteropTestCase


class SealedTests(InteropTestCase):
    """
    Tests for L{benchmarks.sealed}.
    """

    skip = whyNoRealm()

    async def test_everythingIsMeasured(self) -> None:
        """
        There is a line for each level in each direction, with four figures.
        """
        program = self.spawn(
            *(sys.executable, "-m", "benchmarks.sealed", "--rounds=1", "--mebibytes=1"),
            PYTHONPATH=str(SOURCE),
        )
        outcome = await program.whenEnded()
        self.assertEqual(outcome.status, 0, outcome)
        lines = outcome.out.decode().splitlines()
        self.assertEqual(len(lines), 5, outcome)
        for level in ("integrity", "confidentiality"):
            for direction in ("sent", "fetched"):
                name = f"{level}, {direction}"
                (line,) = [line for line in lines if line.startswith(name)]
                self.assertEqual(len([float(each) for each in line[len(name) :].split()]), 4)
