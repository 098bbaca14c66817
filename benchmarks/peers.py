"""
The servers that are measured: how each is found, configured for one core, and started.
"""

from __future__ import annotations

import os
import platform
import resource
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from pwd import getpwuid

from attrs import field, frozen

from .load import Target

ROOT = Path(__file__).parent.parent

#: What clients say where a password is asked for.
USER, PASSWORD = "alice", "opensesame"

#: Servers that would belong here, and why they are not.
ABSENT = {
    "hev-socks5-server": "neither Debian, PyPI nor npm has it",
    "3proxy": "Debian 12 does not have it",
}


@frozen
class Place:
    """
    Where a server is to run, and what for.

    @ivar folder: its own, for files.

    @ivar port: where it is to listen, on 127.0.0.1.

    @ivar target: what its clients will ask for.

    @ivar password: whether it asks for user and password.

    @ivar descriptors: how many it may open; by default as many as this process may.
    """

    folder: Path
    port: int
    target: Target
    password: bool = False
    descriptors: int = field(factory=lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[1])


@frozen
class Peer:
    """
    A server.

    @ivar name: what it is called in tables and on the command line.

    @ivar kind: what it is written in, and how it does its work.

    @ivar plain: it forwards to one target, without SOCKS.

    @ivar datagrams: it has UDP ASSOCIATE.

    @ivar passwords: it can ask for user and password here.

    @ivar whole: it can be asked for more than short sessions by number.
    """

    name: str
    kind: str
    plain: bool = False
    datagrams: bool = False
    passwords: bool = False
    whole: bool = True

    def missing(self) -> str | None:
        """
        Why it cannot run here, if that is so.
        """
        raise NotImplementedError

    def version(self) -> str:
        """
        Which version of it this is.
        """
        raise NotImplementedError

    def command(self, place: Place) -> list[str]:
        """
        What starts it, in the foreground.  May write files in the folder.
        """
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """
        Variables that it needs.
        """
        return {}


@frozen
class Floor(Peer):
    """
    What this interpreter can do at the most; see L{benchmarks.floor}.
    """

    def missing(self) -> str | None:
        """
        It is always there.
        """
        return None

    def version(self) -> str:
        """
        The interpreter's.
        """
        return f"{platform.python_implementation()} {platform.python_version()}"

    def command(self, place: Place) -> list[str]:
        """
        See L{Peer.command}.
        """
        program = ROOT / "benchmarks" / "floor.py"
        return [sys.executable, str(program), "127.0.0.1", str(place.port)]


@frozen
class Direct(Peer):
    """
    No server: the clients connect to the targets, which shows what the load generator can do.
    """

    def missing(self) -> str | None:
        """
        It is always there.
        """
        return None

    def version(self) -> str:
        """
        It has none.
        """
        return ""

    def command(self, place: Place) -> list[str]:
        """
        There is none to start.
        """
        return []


@frozen
class Txsocks5(Peer):
    """
    C{twistd socks5} of a checkout.

    @ivar checkout: the folder.

    @ivar arguments: for C{socks5}.

    @ivar profile: where C{cProfile} leaves what it has seen, if it is to look.
    """

    checkout: Path = ROOT
    arguments: Sequence[str] = ()
    profile: Path | None = None

    def missing(self) -> str | None:
        """
        See L{Peer.missing}.
        """
        if not (self.checkout / "twisted" / "plugins" / "txsocks5_plugin.py").exists():
            return f"{self.checkout} is no checkout"
        return None if _twistd().exists() else "this Python has no twistd"

    def version(self) -> str:
        """
        The commit, and the versions of what it runs on.
        """
        commit = _output("git", "-C", str(self.checkout), "describe", "--always", "--dirty")
        versions = _output(
            sys.executable,
            "-c",
            "import platform, twisted; print('Twisted', twisted.__version__ + ',',"
            " platform.python_implementation(), platform.python_version())",
        )
        arguments = f", {shlex.join(self.arguments)}" if self.arguments else ""
        return f"{commit or 'no commit'}, {versions}{arguments}"

    def command(self, place: Place) -> list[str]:
        """
        See L{Peer.command}.
        """
        command = [str(_twistd()), "-n", "--pidfile="]
        if self.profile is not None:
            file = _unused(self.profile, self.name, ".profile")
            command += ["--profiler=cprofile", "--savestats", f"--profile={file}"]
        command += ["socks5", "--listen", f"tcp:{place.port}:interface=127.0.0.1"]
        if place.password:
            command += ["--auth", f"memory:{USER}:{PASSWORD}"]
        return [*command, *self.arguments]

    def environment(self) -> Mapping[str, str]:
        """
        See L{Peer.environment}.
        """
        return {"PYTHONPATH": str(self.checkout)}


@frozen
class Packaged(Peer):
    """
    A server that a package of Debian's brings.

    @ivar program: what starts it.

    @ivar package: whose version counts.
    """

    program: str = ""
    package: str = ""

    def missing(self) -> str | None:
        """
        See L{Peer.missing}.
        """
        if _program(self.program) is None:
            return f"not installed (Debian's package {self.package} has it)"
        return None

    def version(self) -> str:
        """
        The version of the package.
        """
        return _output("dpkg-query", "-W", "-f", "${Version}", self.package) or "unknown"


_HAPROXY = """\
global
    nbthread 1
    maxconn {connections}
    maxpipes 64
    tune.pipesize 262144
defaults
    mode tcp
    option splice-request
    option splice-response
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen forward
    bind 127.0.0.1:{place.port} backlog 4096
    server target {place.target.address}:{place.target.port}
"""


@frozen
class HAProxy(Packaged):
    """
    HAProxy, which forwards without SOCKS and in the kernel.
    """

    def command(self, place: Place) -> list[str]:
        """
        See L{Peer.command}.
        """
        file = place.folder / "haproxy.cfg"
        # It wants to be sure of all descriptors that it may need, pipes and its own included.
        connections = (place.descriptors - 2 * 64 - 64) // 2
        file.write_text(_HAPROXY.format(place=place, connections=connections))
        return [_program(self.program) or "", "-db", "-f", str(file)]


_DANTE = """\
errorlog: stderr
internal: 127.0.0.1 port = {place.port}
external: 127.0.0.1
clientmethod: none
socksmethod: none
user.privileged: {privileged}
user.unprivileged: {unprivileged}
client pass {{
    from: 127.0.0.0/8 to: 0.0.0.0/0
}}
socks pass {{
    from: 127.0.0.0/8 to: 0.0.0.0/0
}}
"""


@frozen
class Dante(Packaged):
    """
    Dante.  Its users are those of the system, so that it is not asked for passwords here.
    """

    def command(self, place: Place) -> list[str]:
        """
        See L{Peer.command}.
        """
        file = place.folder / "danted.conf"
        privileged = getpwuid(os.geteuid()).pw_name
        # It may not become somebody who is not known in a namespace.
        unprivileged = "nobody" if _becomesAnybody() else privileged
        file.write_text(
            _DANTE.format(place=place, privileged=privileged, unprivileged=unprivileged)
        )
        return [_program(self.program) or "", "-f", str(file), "-p", str(place.folder / "pid")]


@frozen
class Microsocks(Packaged):
    """
    microsocks.
    """

    def command(self, place: Place) -> list[str]:
        """
        See L{Peer.command}.
        """
        command = [_program(self.program) or "", "-i", "127.0.0.1", "-p", str(place.port)]
        return command + (["-u", USER, "-P", PASSWORD] if place.password else [])


@frozen
class GoSocks5(Packaged):
    """
    A server of the Go library that Debian has, built when it is needed.

    @ivar build: the folder for what is built.
    """

    build: Path = ROOT / "build" / "benchmarks"

    def missing(self) -> str | None:
        """
        See L{Peer.missing}.
        """
        library = Path("/usr/share/gocode/src/github.com/armon/go-socks5")
        if _program(self.program) is None or not library.exists():
            return f"not installed (Debian's packages golang-go and {self.package} have it)"
        return None

    def version(self) -> str:
        """
        The version of the library and of Go.
        """
        words = _output("go", "version").split()
        return f"{super().version()}, {words[2] if len(words) > 2 else 'Go'}"

    def command(self, place: Place) -> list[str]:
        """
        See L{Peer.command}.

        @raise subprocess.SubprocessError: it cannot be built.
        """
        program = self.build / "gosocks5"
        source = Path(__file__).with_name("gosocks5.go")
        if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
            self.build.mkdir(parents=True, exist_ok=True)
            settings = {
                "GO111MODULE": "off",
                "GOPATH": "/usr/share/gocode",
                "GOCACHE": str(self.build.absolute() / "go"),
            }
            subprocess.run(
                ["go", "build", "-o", str(program), str(source)],
                env={**os.environ, **settings},
                check=True,
                capture_output=True,
                timeout=300,
            )
        command = [str(program), f"127.0.0.1:{place.port}"]
        return command + ([USER, PASSWORD] if place.password else [])


@frozen
class PythonPeer(Peer):
    """
    A server from PyPI.

    @ivar module: what C{python -m} runs.

    @ivar packages: whose versions count.

    @ivar python: the interpreter of the environment in which they are installed.
    """

    module: str = ""
    packages: tuple[str, ...] = ()
    python: Path = ROOT / ".venv-peers" / "bin" / "python"

    def missing(self) -> str | None:
        """
        See L{Peer.missing}.
        """
        if self.version():
            return None
        return (
            f"not installed (PyPI's {' and '.join(self.packages)} in {self.python.parent.parent})"
        )

    def version(self) -> str:
        """
        The versions of the packages.
        """
        return _output(
            str(self.python),
            "-c",
            "import sys\nfrom importlib.metadata import version\n"
            "print(', '.join(f'{name} {version(name)}' for name in sys.argv[1:]))",
            *self.packages,
        )


@frozen
class Pproxy(PythonPeer):
    """
    pproxy, which takes uvloop where that is installed.
    """

    def command(self, place: Place) -> list[str]:
        """
        See L{Peer.command}.
        """
        user = f"#{USER}:{PASSWORD}" if place.password else ""
        listen = f"socks5://127.0.0.1:{place.port}{user}"
        return [str(self.python), "-m", self.module, "-l", listen]


@frozen
class AsyncioSocksServer(PythonPeer):
    """
    asyncio-socks-server.
    """

    def command(self, place: Place) -> list[str]:
        """
        See L{Peer.command}.
        """
        command = [str(self.python), "-m", self.module, "-H", "127.0.0.1", "-P", str(place.port)]
        if place.password:
            file = place.folder / "users.json"
            file.write_text(f'{{"AUTH_METHOD": 2, "USERS": {{"{USER}": "{PASSWORD}"}}}}')
            command += ["-A", "2", "--config", str(file)]
        return command


def everyPeer(python: Path) -> list[Peer]:
    """
    All peers of txsocks5.

    @param python: the interpreter of the environment in which those from PyPI are installed.
    """
    return [
        HAProxy(
            "haproxy",
            "C, one thread, splices; forwards without SOCKS",
            plain=True,
            program="haproxy",
            package="haproxy",
        ),
        Dante("dante", "C, processes", datagrams=True, program="danted", package="dante-server"),
        Microsocks(
            "microsocks",
            "C, a thread for each client",
            passwords=True,
            program="microsocks",
            package="microsocks",
        ),
        GoSocks5(
            "go-socks5",
            "Go, goroutines",
            passwords=True,
            program="go",
            package="golang-github-armon-go-socks5-dev",
        ),
        Pproxy(
            "pproxy",
            "Python, asyncio on uvloop",
            passwords=True,
            module="pproxy",
            packages=("pproxy", "uvloop"),
            python=python,
        ),
        AsyncioSocksServer(
            "asyncio-socks-server",
            "Python, asyncio",
            datagrams=True,
            passwords=True,
            module="asyncio_socks_server",
            packages=("asyncio-socks-server",),
            python=python,
        ),
        Floor("floor", "Python, a bare loop: the least that one can do", whole=False),
        Direct("direct", "no server: what the load generator can do", plain=True, datagrams=True),
    ]


def _twistd() -> Path:
    return Path(sysconfig.get_path("scripts")) / "twistd"


def _unused(folder: Path, stem: str, suffix: str) -> Path:
    """
    The path of a file that is not there yet.
    """
    names = (folder / f"{stem}-{number}{suffix}" for number in count(1))
    return next(path for path in names if not path.exists())


def _becomesAnybody() -> bool:
    """
    Whether this is a root who may become any user of the system.
    """
    first = Path("/proc/self/uid_map").read_text().split()
    return os.geteuid() == 0 and first[2] == str((1 << 32) - 1)


def _program(name: str) -> str | None:
    """
    Find a program, also where those for administrators are.
    """
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")


def _output(*command: str) -> str:
    """
    What a program prints, or nothing if it fails.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
