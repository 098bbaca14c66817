"""
Tests for L{txsocks5.levels}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txsocks5.levels import NAMES, Levels
from txsocks5.wire import ProtectionLevel

NONE, INTEGRITY, CONFIDENTIALITY, SELECTIVE = ProtectionLevel


class NamedTests(SynchronousTestCase):
    """
    Tests for L{Levels.named}.
    """

    def test_names(self) -> None:
        """
        Each name permits one thing.
        """
        for names, levels in (
            (["confidentiality"], Levels(frozenset({CONFIDENTIALITY}))),
            (["integrity"], Levels(frozenset({INTEGRITY}))),
            (["clear"], Levels(frozenset({NONE}))),
            (["curl"], Levels(frozenset(), curl=True)),
            (["nec", "integrity"], Levels(frozenset({INTEGRITY}), nec=True)),
            (NAMES, Levels(frozenset({NONE, INTEGRITY, CONFIDENTIALITY}), curl=True, nec=True)),
        ):
            self.assertEqual(Levels.named(names), levels)
            self.assertEqual(Levels.named(iter([*names, *names])), levels)

    def test_unknown(self) -> None:
        """
        Another name is an error that says which there are.
        """
        for name in ("", "Integrity", "0", "selective"):
            error = self.assertRaises(ValueError, Levels.named, ["integrity", name])
            self.assertEqual(
                str(error),
                f"there is no level {name!r}; "
                "there are confidentiality, integrity, clear, curl, nec",
            )

    def test_none(self) -> None:
        """
        There must be something to agree on; NEC's way to do so is none.
        """
        for names in ([], ["nec"]):
            error = self.assertRaises(ValueError, Levels.named, names)
            self.assertEqual(
                str(error),
                "no level to agree on; there are confidentiality, integrity, clear, curl",
            )


class AnswerTests(SynchronousTestCase):
    """
    Tests for L{Levels.answer} and L{Levels.goesOn}.
    """

    def assertAnswers(
        self, names: list[str], *answers: ProtectionLevel | None, confidential: bool = True
    ) -> None:
        """
        To the four levels from "none" up, a server answers this.
        """
        levels = Levels.named(names)
        self.assertEqual(
            [levels.answer(asked, confidential) for asked in ProtectionLevel], list(answers)
        )

    def test_default(self) -> None:
        """
        What is granted is agreed to, and otherwise the highest level is the answer (R-1961-17).
        """
        self.assertAnswers(
            ["integrity", "confidentiality"],
            CONFIDENTIALITY,
            INTEGRITY,
            CONFIDENTIALITY,
            CONFIDENTIALITY,
        )

    def test_one(self) -> None:
        """
        Where only one is granted it is the answer to everything.
        """
        for name, level in (
            ("confidentiality", CONFIDENTIALITY),
            ("integrity", INTEGRITY),
            ("clear", NONE),
        ):
            self.assertAnswers([name], level, level, level, level)

    def test_clear(self) -> None:
        """
        "None" is agreed to only with those who ask for it (R-1961-19).
        """
        self.assertAnswers(["clear", "integrity"], NONE, INTEGRITY, INTEGRITY, INTEGRITY)

    def test_withoutConfidentiality(self) -> None:
        """
        Level 2 needs a context that has it (R-1961-17).
        """
        self.assertAnswers(
            ["integrity", "confidentiality"],
            INTEGRITY,
            INTEGRITY,
            INTEGRITY,
            INTEGRITY,
            confidential=False,
        )
        self.assertAnswers(["confidentiality"], None, None, None, None, confidential=False)

    def test_curl(self) -> None:
        """
        For curl "none" is the answer to everything (R-1961-20).
        """
        self.assertAnswers(["curl"], NONE, NONE, NONE, NONE)
        self.assertAnswers(["curl", "confidentiality", "integrity"], NONE, NONE, NONE, NONE)

    def test_goesOn(self) -> None:
        """
        Who encapsulates all the same may do so at a level that is granted and protects, and that
        it has asked for itself (R-1961-20).
        """
        for names, confidential, expected in (
            (["curl"], True, []),
            (["curl", "clear"], True, []),
            (["curl", "integrity"], True, [INTEGRITY]),
            (["curl", "integrity", "confidentiality"], True, [INTEGRITY, CONFIDENTIALITY]),
            (["curl", "integrity", "confidentiality"], False, [INTEGRITY]),
        ):
            levels = Levels.named(names)
            found = [asked for asked in ProtectionLevel if levels.goesOn(asked, confidential)]
            self.assertEqual(found, expected)
