"""Launch of an inference server, by its command line. Pure: an argument vector in, a `Launch` out.

Anyone who may start a process writes command lines, so everything is bounded. Of a line only the fields of
`Launch` are kept, since a whole one may hold keys.
Flags are written with dashes, as documented; Python's argument parsers accept underscores too, so both are
read alike.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from exporter.engines.catalogue import COMMANDS
from exporter.engines.spec import Command, Factor, RoleFlag, SequenceFlags
from exporter.readings import SEQUENCES_MAX, Role, SequenceLimit, label

WORDS_MAX: Final = 512
"""Words of a command line that are read; a long one has about a hundred."""

LARGEST_PORT: Final = 65_535
LARGEST_WORLD: Final = 65_536

NAME_CHARACTERS: Final = 64
"""Longest name of a program."""

_INTERPRETER: Final = re.compile(r"(?:python|pypy)[0-9.]*t?")
_SHELL: Final = re.compile(r"-?(?:ba|da|k|z|a)?sh")
_TAKES_A_WORD: Final = ("-W", "-X", "--check-hash-based-pycs")
"""Python's own flags with a word of their own (`python --help`)."""

_MODULE: Final = re.compile(r"-[A-Za-z]*m")
_FLAG: Final = re.compile(r"--?[A-Za-z].*", re.DOTALL)
_NUMBER: Final = re.compile(r"[0-9]{1,6}")
_UNFIT: Final = re.compile(r"[^A-Za-z0-9._:+@-]+")
_CACHED_MODEL: Final = re.compile(r"/models--([^/]+?)--([^/]+)/snapshots/")
_WILDCARDS: Final = frozenset({"", "0.0.0.0", "::", "[::]", "*"})  # noqa: S104 - read, not bound


@dataclass(frozen=True, slots=True)
class _Spelling:
    """One spelling of a command: a program or module, and the words that must follow it."""

    program: str
    words: list[str]
    engine: str
    command: Command


def _spellings(starts: Callable[[Command], Iterable[str]]) -> dict[str, list[_Spelling]]:
    """The spellings of all commands by the name of their program or module."""
    spellings: dict[str, list[_Spelling]] = {}
    for engine, command in COMMANDS:
        for start in starts(command):
            first, *words = start.split(" ")
            spellings.setdefault(_basename(first), []).append(_Spelling(first, words, engine, command))
    return spellings


@dataclass(frozen=True, slots=True)
class Launch:
    """Launch of an API server, as far as its command line has it."""

    engine: str
    default_port: int | None = None
    """Its engine's default port; `None` if unknown, or where the command line names a port or a Unix
    socket."""
    named_port: int | None = None
    """Port that its command line names; `None` where it names none."""
    host: str = ""
    """Address that it binds; empty for all interfaces."""
    scheme: str = "http"
    metrics_port: int | None = None
    """Port of its metrics."""
    metrics_path: str = "/metrics"
    """Path of its metrics."""
    metrics: bool | None = True
    """False where they are switched off; `None` where a file or the environment decides."""
    model: str = ""
    world_size: int | None = None
    """Number of GPUs that the server's page covers; `None` if unknown."""
    nodes: int = 1
    node_rank: int = 0
    serves: bool = True
    """False for a follower, whose API is on another host."""
    part: bool = False
    """Whether it belongs to a server, and is none."""
    routes: bool = False
    """Whether it is a router, which starts a server for each model."""
    max_running: SequenceLimit | None = None
    """Largest number of sequences that it runs at once; `None` without a flag."""
    role: Role = ""
    """Its part of a disaggregated pair; empty without one."""

    @property
    def port(self) -> int | None:
        """Port of its API: the named one, else the default; `None` if unknown or a Unix socket."""
        return self.default_port if self.named_port is None else self.named_port


class _Options:
    """Flags with what follows them, and free words. A repeated flag's last value counts, as in argparse.

    A word after an unknown flag may be its value, so it is not free; `valued` are flags of one value.
    """

    def __init__(self, words: Iterable[str], valued: frozenset[str]) -> None:
        self._values: dict[str, list[str]] = {}
        self.words: list[str] = []
        owner = ""
        for word in words:
            if _FLAG.fullmatch(word):
                name, equals, value = word.partition("=")
                if name.startswith("--"):
                    name = name.replace("_", "-")
                self._values[name] = [value] if equals else []
                owner = "" if equals else name
            elif not owner:
                self.words.append(word)
            else:
                self._values[owner].append(word)
                owner = "" if owner in valued else owner

    def has(self, flags: Iterable[str]) -> bool:
        """Whether one of the flags is given, for `--name=value` with that value."""
        for flag in flags:
            name, equals, value = flag.partition("=")
            if name in self._values and (not equals or self._values[name][:1] == [value]):
                return True
        return False

    def value(self, flags: Iterable[str]) -> str:
        """The value of the first of the flags that has one, else the empty text."""
        return next((self._values[flag][0] for flag in flags if self._values.get(flag)), "")

    def number(self, flags: Iterable[str], otherwise: int | None = None) -> int | None:
        """The number that the first of the flags has."""
        value = self.value(flags)
        return int(value) if _NUMBER.fullmatch(value) else otherwise

    def model(self, command: Command) -> str:
        """The model's name: as it is served, else as it was given, a path by its last part."""
        for flag in command.model_flags:
            if name := self.value((flag,)):
                return label(_basename(name) if flag in command.model_path_flags else _named(name))
        return label(_named(self.words[0])) if command.positional_model and self.words else ""

    def world_size(self, factors: Iterable[Factor]) -> int | None:
        """The product of the factors that multiply GPUs; `None` if one is unknown."""
        product = 0
        for factor in factors:
            if self.has(factor.one_with):
                size: int | None = 1
            else:
                flags = factor.per_host_flags if self.has(factor.per_host_with) else factor.flags
                size = self.number(flags, None if self.has(flags) or factor.required else 1)
            if not size or (factor.divides_others and size > 1):
                return None
            product = (product or 1) * size
        return product if 0 < product <= LARGEST_WORLD else None

    def max_running(self, stated: SequenceFlags) -> SequenceLimit | None:
        """The largest number of sequences that run at once; `None` without a plausible one."""
        shared = self.has(stated.shared_with)
        sequences = self.number(stated.flags)
        if sequences is None or not 0 < sequences <= SEQUENCES_MAX:
            return None
        return None if self.has(stated.unknown_with) and not shared else SequenceLimit(sequences, shared)

    def role(self, stated: RoleFlag) -> Role:
        """The part of a disaggregated pair; empty without one."""
        key = stated.key.replace("_", "-")
        value: object = self.value([f"{flag}.{key}" for flag in stated.flags] if key else stated.flags)
        if key and not value:
            try:
                document = json.loads(self.value(stated.flags))
            except (ValueError, RecursionError):
                return ""
            value = document.get(stated.key) if isinstance(document, dict) else None
        return next((role for name, role in stated.roles if name == value), "")


def launch(argv: Sequence[str]) -> Launch | None:
    """The API server, or part of one, that a process is; `None` for any other process."""
    matched = _match(argv)
    if matched is None:
        return None
    engine, command, rest = matched
    valued = {*command.port_flags, *command.host_flags, *command.address_flags, *command.metrics_port_flags}
    valued |= {*command.node_count_flags, *command.node_rank_flags, *command.model_flags} - {
        "--served-model-name"
    }
    valued |= {flag for factor in command.world_factors for flag in (*factor.flags, *factor.per_host_flags)}
    if command.max_running is not None:
        valued |= {*command.max_running.flags}
    if command.role is not None:
        valued |= {*command.role.flags}
    options = _Options(rest or (), frozenset(valued))
    named = options.number(command.port_flags)
    host = options.value(command.host_flags) or command.host
    if address := options.value(command.address_flags):
        host, _, digits = address.rpartition(":")
        named = int(digits) if _NUMBER.fullmatch(digits) else None
    named_port = _port(named)
    default_port = _port(command.port) if named is None else None
    if options.has(command.unix_socket_flags) or host.endswith(".sock"):
        named_port = default_port = None
    port = default_port if named_port is None else named_port
    metrics_port = options.number(command.metrics_port_flags, command.metrics_port)
    if metrics_port is None and port is not None and not command.metrics_apart:
        metrics_port = port + 1 if options.has(command.metrics_at_next_port_flags) else port
    metrics: bool | None = command.metrics == "on" or options.has(command.metrics_on_flags)
    if command.metrics == "never" or options.has(command.metrics_off_flags):
        metrics = False
    elif command.metrics == "configured":
        metrics = None
    rank = options.number(command.node_rank_flags, 0) or 0
    return Launch(
        engine=engine,
        default_port=default_port,
        named_port=named_port,
        host="" if host in _WILDCARDS else label(host),
        scheme="https" if options.has(command.tls_flags) else "http",
        metrics_port=_port(metrics_port),
        metrics_path=command.metrics_path,
        metrics=metrics,
        model=options.model(command),
        world_size=None if rest is None else options.world_size(command.world_factors),
        nodes=max(1, options.number(command.node_count_flags, 1) or 1),
        node_rank=rank,
        serves=rank == 0 and not command.part and not options.has(command.follower_flags),
        part=command.part,
        routes=options.has(command.router_flags) and not options.has(command.model_flags),
        max_running=None if command.max_running is None else options.max_running(command.max_running),
        role="" if command.role is None else options.role(command.role),
    )


def works_for(argv: Sequence[str]) -> frozenset[str]:
    """The engines for whose servers a process of this command line computes; empty if unknown."""
    title = _title(argv)
    name, _, words, _ = _program(argv)
    spoken = " ".join([name, *words[:1]])
    return frozenset(
        engine
        for engine, command in COMMANDS
        for pattern in command.worker_patterns
        if re.match(pattern, title) or re.match(pattern, spoken)
    )


def program(argv: Sequence[str], otherwise: str = "") -> str:
    """Name of a process: its program, of an interpreter the script or module; never an argument.

    `otherwise` is the kernel's name of it (`comm`), for a process without a command line.
    """
    title = _title(argv)
    name = _program(argv)[0] or otherwise
    if " " in title or "::" in title:  # a title: nginx: worker process, ray::RayTrainWorker.train
        name = _basename(title.split(" ", 1)[0])
    return _UNFIT.sub("_", name.split(" ", 1)[0])[:NAME_CHARACTERS].strip("_") or "unknown"


def _match(argv: Sequence[str]) -> tuple[str, Command, list[str] | None] | None:
    """Engine and command that fit, and the words after the program's; a title hides them: `None`."""
    title = _title(argv)
    for pattern, engine, command in _TITLES:
        if "::" in title and pattern.match(title):
            return engine, command, None
    name, path, rest, module = _program(argv)
    for spelling in (_MODULES if module else _PROGRAMS).get(name, ()):
        words, command = spelling.words, spelling.command
        fits = not spelling.program.startswith("/") or path == spelling.program
        if fits and rest[: len(words)] == words and not {*rest[len(words) :][:1]} & {*command.foreign}:
            return spelling.engine, command, rest[len(words) :]
    if not module and path.endswith(".py"):
        for ending, engine, command in _FILES:
            if path.endswith(ending):
                return engine, command, rest
    return None


def _title(argv: Sequence[str]) -> str:
    return argv[0] if argv else ""


def _program(argv: Sequence[str]) -> tuple[str, str, list[str], bool]:
    """Name, path, the words after it, and whether it is a module: of the script, where one is interpreted."""
    words = [word for word in argv[:WORDS_MAX] if word]
    if not words:
        return "", "", [], False
    path, rest = words[0], words[1:]
    name = _basename(path)
    if _SHELL.fullmatch(name) and rest and not rest[0].startswith("-"):
        return _basename(rest[0]), rest[0], rest[1:], False
    if not _INTERPRETER.fullmatch(name):
        return name, path, rest, False
    while rest:
        word, rest = rest[0], rest[1:]
        if _MODULE.fullmatch(word) and rest:
            return rest[0], rest[0], rest[1:], True
        if word in ("-c", "-"):
            break
        if word in _TAKES_A_WORD:
            rest = rest[1:]
        elif not word.startswith("-"):
            return _basename(word), word, rest, False
    return name, path, [], False


def _named(model: str) -> str:
    if cached := _CACHED_MODEL.search(model + "/"):
        return f"{cached[1]}/{cached[2]}"
    return _basename(model) if model.startswith(("/", ".", "~")) else model


def _port(port: int | None) -> int | None:
    return port if port is not None and 0 < port <= LARGEST_PORT else None


def _basename(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


_PROGRAMS: Final = _spellings(lambda command: command.programs)
_MODULES: Final = _spellings(lambda command: command.modules)
_TITLES: Final = [
    (re.compile(title), engine, command) for engine, command in COMMANDS for title in command.title_patterns
]
_FILES: Final = [
    (f"/{module.replace('.', '/')}{ending}", spelling.engine, spelling.command)
    for module, spellings in _MODULES.items()
    for spelling in spellings
    for ending in (".py", "/__main__.py")
    if "." in module and not spelling.words
]
"""Modules that are started by their file."""
