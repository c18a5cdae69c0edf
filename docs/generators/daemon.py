"""Tables of docs/daemon.md: environment variables and log messages, read from the source of the package."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from generators.tables import table

EXPORTER: Final = Path(__file__).parents[2] / "exporter"
LEVELS: Final = ("error", "exception", "warning", "info", "debug", "log")
LOG_ERROR: Final = "_log_error"
"""The function of `exporter/cli/serve.py` that logs an error with its text under `problem`."""

DEMO: Final = "demo"
"""The package of the simulated host, whose log is no operator's."""

VARIABLES: Final = {
    "NODE_NAME": "host name for `match: {host: ...}`; default: that of the system. The DaemonSet sets it.",
    "NVIDIA_VISIBLE_DEVICES": "`all` or unset: NVML lists every GPU of the machine, and a GPU missing from "
    "its list is charged. Any other value: only visible GPUs are charged. "
    "[`discovery.gpus`](configuration.md#discovery) overrides it.",
    "NODE_IP": "address of this node's kubelet. The DaemonSet sets it.",
    "POD_NAME": "with `POD_NAMESPACE` this pod, whose claim to the GPUs is ignored. The DaemonSet sets both.",
    "POD_NAMESPACE": "namespace of this pod",
    "KUBERNETES_SERVICE_HOST": "address of the API server; used only with a mounted service account",
    "KUBERNETES_SERVICE_PORT": "port of the API server; default 443",
    "NO_COLOR": "any value disables colors on a terminal",
    "TERM": "`dumb` disables colors on a terminal",
}
"""The meaning of each variable that the package reads."""


PATHS: Final = {
    "/": "[web page](page.md)",
    "/explain/": "how each number is calculated; `/explain/NAME` or"
    " `/explain/NAMESPACE%2FNAME` for one server",
    "/explain": "redirect to `/explain/`",
    "/metrics": "[metrics](metrics.md), as Prometheus text or OpenMetrics",
    "/cost.json": "the page's figures as JSON ([schema](cost.schema.json))",
    "/-/healthy": "200 while the process answers, whatever NVML does",
    "/-/ready": "200 after the first tick, 503 before",
    "/-/reload": "`POST` reads the configuration again ([reload](#reload))",
}
"""The response of each path."""


def trees(pattern: str) -> Iterator[tuple[Path, ast.Module]]:
    """The syntax tree of each file of the package that a pattern is found in."""
    for path in sorted(EXPORTER.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if re.search(pattern, text):
            yield path, ast.parse(text)


def read_variables() -> set[str]:
    """The names that the package looks up in an environment."""
    return {
        node.args[0].value
        for _, tree in trees("environ")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith("environ.get")
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    }


def environment() -> str:
    """The table of environment variables.

    Raises:
        ValueError: a variable is read and not described, or described and not read.
    """
    if read_variables() != set(VARIABLES):
        raise ValueError(f"docs/generators/daemon.py: describe {read_variables() ^ set(VARIABLES)}")
    return table(("variable", "meaning"), [(f"`{name}`", meaning) for name, meaning in VARIABLES.items()])


def served_paths() -> set[str]:
    """The paths of the web server's table of routes, which is a dictionary with `/-/ready` among its keys."""
    for _, tree in trees("/-/ready"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Dict):
                keys = {key.value for key in node.keys if isinstance(key, ast.Constant)}
                if "/-/ready" in keys:
                    return {str(key) for key in keys}
    return set()


def paths() -> str:
    """The table of paths.

    Raises:
        ValueError: a path is served and not described, or described and not served.
    """
    if served_paths() != set(PATHS):
        raise ValueError(f"docs/generators/daemon.py: describe {served_paths() ^ set(PATHS)}")
    return table(("path", "response"), [(f"`{path}`", response) for path, response in PATHS.items()])


def _is_log_call(call: ast.Call) -> bool:
    """Whether a call writes a line to a module's log."""
    if ast.unparse(call.func) == LOG_ERROR:
        return True
    return (
        isinstance(call.func, ast.Attribute)
        and call.func.attr in LEVELS
        and ast.unparse(call.func.value).lower().strip("_") in {"log", "logger"}
    )


def _messages(call: ast.Call) -> list[str]:
    """The constant texts of a log call, with `...` for placeholders: two where the call decides."""
    position = 1 if isinstance(call.func, ast.Attribute) and call.func.attr == "log" else 0
    text = call.args[position] if len(call.args) > position else None
    branches = (text.body, text.orelse) if isinstance(text, ast.IfExp) else (text,)
    constants = [node.value for node in branches if isinstance(node, ast.Constant)]
    found = [value.replace("%s", "...") for value in constants if isinstance(value, str)]
    return [message for message in found if any(map(str.isalpha, message))]


def _keys(call: ast.Call) -> list[str]:
    """The keys of the record that stand in the call."""
    if ast.unparse(call.func) == LOG_ERROR:
        return ["problem"]
    extra = next((keyword.value for keyword in call.keywords if keyword.arg == "extra"), None)
    if not isinstance(extra, ast.Dict):
        return []
    return [key.value for key in extra.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]


def _level(call: ast.Call) -> str:
    """The level of a log call: two where the call decides between them."""
    method = ast.unparse(call.func).rpartition(".")[2]
    if method in {"exception", LOG_ERROR}:
        return "error"
    if method != "log":
        return method
    named = [node.attr.lower() for node in ast.walk(call.args[0]) if isinstance(node, ast.Attribute)]
    return ", ".join(name for name in named if name in LEVELS)


def messages() -> str:
    """The table of log messages with their level and keys."""
    found: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for path, tree in trees(rf"(?i)log(ger)?_*\s*\.|{LOG_ERROR}"):
        if path.relative_to(EXPORTER).parts[0] == DEMO:
            continue
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and _is_log_call(node)):
                continue
            for message in _messages(node):
                levels, keys = found.setdefault(message, ({}, {}))
                levels[_level(node)] = None
                keys.update(dict.fromkeys(_keys(node)))
    rows = [
        (message, ", ".join(levels), ", ".join(f"`{key}`" for key in keys))
        for message, (levels, keys) in sorted(found.items(), key=lambda item: item[0].lower())
    ]
    return table(("message", "level", "keys"), rows)


REGIONS: Final = {
    ("daemon.md", "environment"): environment,
    ("daemon.md", "paths"): paths,
    ("daemon.md", "messages"): messages,
}
"""The function for each region, by page and name."""
