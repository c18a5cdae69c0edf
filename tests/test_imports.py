"""Memory of what is imported: modules of Python that are loaded at their first use."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import pytest

from exporter.imports import MODULES, LateModule, postpone

LATE = "[name for name, module in sys.modules.items() if type(module).__name__ == 'LateModule']"


def ran(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}"], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_the_daemon_loads_none_of_them() -> None:
    """All but the one that asks git for the version of a checkout, which an installation does not do."""
    parse = "from exporter.cli.arguments import program\nprogram(daemon_only=True).parse_args(['serve'])"
    late = ran(f"import exporter.cli.serve\n{parse}\nprint(*{LATE})").split()
    assert late == [name for name in MODULES if name != "subprocess"]


def test_passwords_do_without_tls() -> None:
    """Whose library is most of what TLS takes."""
    assert (
        ran("import exporter.web.policy\nprint('ssl' in sys.modules, '_ssl' in sys.modules)")
        == "False False\n"
    )


def test_one_is_loaded_by_its_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """An import alone is none; all who imported it early see the same module."""
    monkeypatch.delitem(sys.modules, "textwrap")
    postpone()
    import textwrap

    assert isinstance(textwrap, LateModule)
    with pytest.raises(AttributeError, match="__path__"):
        getattr(textwrap, "__path__")  # noqa: B009 - as the import asks

    assert textwrap.shorten("of two words", 6) == "[...]"
    assert type(sys.modules["textwrap"]) is ModuleType
    assert textwrap.wrap is sys.modules["textwrap"].wrap


def test_one_that_is_loaded_stays() -> None:
    """Nothing of it changes."""
    loaded = sys.modules["subprocess"]
    postpone()
    assert sys.modules["subprocess"] is loaded


def test_a_name_that_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is the module's own."""
    monkeypatch.setitem(sys.modules, "textwrap", LateModule("textwrap"))
    with pytest.raises(AttributeError, match="module 'textwrap' has no attribute 'nothing'"):
        sys.modules["textwrap"].nothing  # noqa: B018


def test_threads_that_use_one_at_once_load_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each gets the function of the same module."""
    late = LateModule("textwrap")
    monkeypatch.setitem(sys.modules, "textwrap", late)
    with ThreadPoolExecutor(8) as pool:
        functions = set(pool.map(lambda _: late.wrap, range(64)))
    assert functions == {sys.modules["textwrap"].wrap}
