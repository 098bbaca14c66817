"""
Tests for the way L{txsocks5} is packaged, and found by C{twistd}.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sysconfig
from importlib.metadata import distribution
from pathlib import Path

from twisted.application.service import IServiceMaker
from twisted.cred.strcred import ICheckerFactory
from twisted.plugin import getPlugins
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

import txsocks5

# What surrounds the tests: a checkout, or an unpacked source distribution.
PROJECT = Path(__file__).resolve().parent.parent

PLUGIN = "twisted/plugins/txsocks5_plugin.py"


def shippedFiles() -> dict[str, Path]:
    """
    The files that belong to the installed txsocks5, by their name relative to
    the folder that holds the package.
    """
    around = Path(txsocks5.__file__).resolve().parent.parent
    if around == PROJECT:
        found = [*around.glob("txsocks5/**/*"), *around.glob("twisted/**/*")]
        return {str(path.relative_to(around)): path for path in found if path.is_file()}
    return {str(file): Path(file.locate()) for file in distribution("txsocks5").files or []}


def twistd(*arguments: str) -> str:
    """
    Run C{twistd} in a process of its own.

    @return: what it printed.
    """
    done = subprocess.run(
        [Path(sysconfig.get_path("scripts")) / "twistd", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    return done.stdout


class PluginTests(TestCase):
    """
    C{twistd} finds txsocks5, and is not disturbed by it.
    """

    def test_pluginIsFound(self) -> None:
        """
        Exactly one plugin offers the command C{socks5}, and it names the module
        with the options.
        """
        makers = [maker for maker in getPlugins(IServiceMaker) if maker.tapname == "socks5"]
        self.assertEqual([maker.module for maker in makers], ["txsocks5.tap"])

    def test_commandIsListed(self) -> None:
        """
        C{twistd --help} lists C{socks5} with a description of one line.
        """
        self.assertRegex(twistd("--help"), r"(?m)^ +socks5 +\S+")

    def test_commandHasHelp(self) -> None:
        """
        C{twistd socks5 --help} lists the options.
        """
        self.assertIn("--listen", twistd("socks5", "--help"))

    def test_commandOfTwistedStays(self) -> None:
        """
        Twisted's own SOCKSv4 command is still there beside ours.
        """
        self.assertRegex(twistd("--help"), r"(?m)^ +socks +\S+")

    def test_pluginFileIsShipped(self) -> None:
        """
        The plugin file is installed together with the package.
        """
        self.assertIn(PLUGIN, shippedFiles())

    def test_noPackageFilesInTwisted(self) -> None:
        """
        txsocks5 brings one file for Twisted's folders: an C{__init__.py} there
        would hide the plugin, or break Twisted.
        """
        names = [
            name for name in shippedFiles() if name.startswith("twisted/") and name.endswith(".py")
        ]
        self.assertEqual(names, [PLUGIN])

    def test_pluginImportsNothingOfUs(self) -> None:
        """
        Listing the commands of C{twistd} does not load the server: the plugin imports what Twisted
        has loaded for that anyway, and nothing of the package.
        """
        tree = ast.parse(shippedFiles()[PLUGIN].read_text())
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        modules = {node.module for node in imports if isinstance(node, ast.ImportFrom)}
        self.assertEqual(len([node for node in imports if isinstance(node, ast.Import)]), 0)
        self.assertIn("twisted.application.service", modules)
        self.assertLessEqual(
            {(name or "").partition(".")[0] for name in modules}, {"twisted", "zope"}
        )

    def test_checkers(self) -> None:
        """
        C{--help-auth} lists our checkers of passwords, and C{--help-auth-type} tells of each.
        """
        listed = twistd("socks5", "--help-auth")
        for factory in getPlugins(ICheckerFactory):
            if type(factory).__module__ == "twisted.plugins.txsocks5_plugin":
                self.assertTrue(verifyObject(ICheckerFactory, factory))
                kind = factory.authType
                self.assertRegex(listed, rf"(?m)^ +{kind} *\t{re.escape(factory.argStringFormat)}$")
                told = twistd("socks5", "--help-auth-type", kind)
                self.assertIn(f"pip install 'txsocks5[{kind}]'", told)
        self.assertIn("  htpasswd", listed)


class MetadataTests(TestCase):
    """
    What an installer reads about txsocks5.
    """

    def test_version(self) -> None:
        """
        The installed distribution tells its version.
        """
        self.assertRegex(distribution("txsocks5").version, r"^\d+\.\d+\.\d+(\.dev\d+)?$")

    def test_oldestPython(self) -> None:
        """
        An older Python than 3.11 is refused by the installer.
        """
        self.assertEqual(distribution("txsocks5").metadata["Requires-Python"], ">=3.11")

    def test_typed(self) -> None:
        """
        The annotations can be used by type checkers of other projects.
        """
        self.assertIn("txsocks5/py.typed", shippedFiles())


class ProjectTests(TestCase):
    """
    What a newcomer does first works.
    """

    def test_targetsOfTheReadme(self) -> None:
        """
        Every C{make} command that README.rst and the documentation mention
        exists.
        """
        makefile = (PROJECT / "Makefile").read_text()
        defined = set(re.findall(r"(?m)^([a-z][a-z0-9-]*):(?!=)", makefile))
        pages = [PROJECT / "README.rst", *(PROJECT / "docs").rglob("*.rst")]
        mentioned = set()
        for page in pages:
            for line in re.findall(r"(?m)(?:^ +|``)make ([^`#\n]*)", page.read_text()):
                mentioned |= {
                    word for word in line.split() if re.fullmatch("[a-z][a-z0-9-]*", word)
                }
        self.assertLessEqual({"run", "test"}, mentioned)
        self.assertEqual(mentioned - defined, set())

    def test_targetsAreExplained(self) -> None:
        """
        C{make help} explains every target that is not a file.
        """
        makefile = (PROJECT / "Makefile").read_text()
        phony = set(" ".join(re.findall(r"(?m)^\.PHONY: (.*)$", makefile)).split())
        explained = set(re.findall(r"(?m)^([a-z][a-z0-9-]*):.*## \S", makefile))
        self.assertEqual(phony, explained)

    def test_newsFragments(self) -> None:
        """
        Every news fragment has a name that the release will pick up.
        """
        names = [path.name for path in (PROJECT / "newsfragments").iterdir()]
        fragments = set(names) - {"README.rst", ".gitignore"}
        kinds = "feature|bugfix|doc|removal|misc"
        wrong = [
            name for name in fragments if not re.fullmatch(rf"\+[\w.-]+\.({kinds})\.rst", name)
        ]
        self.assertEqual(wrong, [])
