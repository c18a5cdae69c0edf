"""Which machine this is, from files of a host that a test makes up."""

import hashlib
import hmac
import os
from pathlib import Path

import pytest

from exporter.sources import machine

PRODUCT = "4c4c4544-0042-3510-8052-b3c04f4b4e32"
INSTALLATION = "b08dfa6083e7567a1921a715000001fb"
SALT = b"inference-cost-exporter ledger"


def keyed(text: str) -> str:
    """The keyed hash that machine-id(5) asks for, the id being the key."""
    return hmac.digest(text.encode(), SALT, hashlib.sha256).hex()


def host(root: Path, product: bytes | None = None, installation: bytes | None = None) -> Path:
    """A host's root with these files in it."""
    for name, content in (("sys/class/dmi/id/product_uuid", product), ("etc/machine-id", installation)):
        if content is not None:
            file = root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    return root


def test_the_firmware_speaks_first(tmp_path: Path) -> None:
    """With a product's UUID an installation's id is not looked at: it is cloned with the disk."""
    root = host(tmp_path, f"{PRODUCT}\n".encode(), f"{INSTALLATION}\n".encode())

    assert machine.identity(root) == f"product:{keyed(PRODUCT)}"


def test_upper_and_lower_case_are_one_machine(tmp_path: Path) -> None:
    """Some hypervisors and older kernels tell the UUID in upper case."""
    assert machine.identity(host(tmp_path, PRODUCT.upper().encode())) == f"product:{keyed(PRODUCT)}"


@pytest.mark.parametrize(
    "product",
    [
        pytest.param(None, id="no-firmware"),
        pytest.param(b"", id="empty"),
        pytest.param(b"Not Settable\n", id="not-settable"),
        pytest.param(b"00000000-0000-0000-0000-000000000000\n", id="zeros"),
        pytest.param(b"FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF\n", id="ones"),
        pytest.param(b"FEFEFEFE-FEFE-FEFE-FEFE-FEFEFEFEFEFE\n", id="one-byte"),
        pytest.param(b"03000200-0400-0500-0006-000700080009\n", id="placeholder"),
        pytest.param(b"00020003-0004-0005-0006-000700080009\n", id="placeholder-swapped"),
        pytest.param(b"03020100-0504-0706-0809-0a0b0c0d0e0f\n", id="counting"),
        pytest.param(b"12345678-1234-5678-90AB-CDDEEFAABBCC\n", id="counting-by-hand"),
        pytest.param(PRODUCT.encode() + b"0", id="a-digit-too-many"),
        pytest.param(b"\xff\xfe" * 18, id="no-text"),
    ],
)
def test_a_product_that_tells_nothing_leaves_it_to_the_installation(
    tmp_path: Path, product: bytes | None
) -> None:
    """A placeholder is shared by strangers, and must not make one machine of them."""
    expected = f"installation:{keyed(INSTALLATION)}"

    assert machine.identity(host(tmp_path, product, f"{INSTALLATION}\n".encode())) == expected


@pytest.mark.parametrize(
    "installation",
    [
        None,
        b"",
        b"uninitialized\n",
        b"0" * 32,
        INSTALLATION.encode() * 2,
        b"not hexadecimal at all, no sir!!",
    ],
)
def test_an_installation_that_tells_nothing_leaves_the_machine_unknown(
    tmp_path: Path, installation: bytes | None
) -> None:
    """Before its first boot is over a system has no id; nothing is made up."""
    assert machine.identity(host(tmp_path, None, installation)) == ""


def test_what_cannot_be_read_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For other users than root the firmware's file is closed: the installation is asked."""
    root = host(tmp_path, f"{PRODUCT}\n".encode(), f"{INSTALLATION}\n".encode())
    opened = Path.open

    def refuse(path: Path, mode: str) -> object:
        if path.name == "product_uuid":
            raise PermissionError(13, os.strerror(13))
        return opened(path, mode)

    monkeypatch.setattr(Path, "open", refuse)

    assert machine.identity(root) == f"installation:{keyed(INSTALLATION)}"


def test_a_directory_in_the_files_place(tmp_path: Path) -> None:
    """A mount that went wrong leaves a directory: unknown, no error."""
    (tmp_path / machine.MACHINE_ID).mkdir(parents=True)

    assert machine.identity(tmp_path) == ""


def test_a_file_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    """Reads are bounded: a pseudo file that never ends costs 128 bytes."""
    (tmp_path / "etc").mkdir()
    (tmp_path / machine.MACHINE_ID).symlink_to("/dev/zero")

    assert machine.identity(tmp_path) == ""


def test_neither_id_is_told(tmp_path: Path) -> None:
    """The ledger may be read by others than root, and an installation's id is confidential."""
    both = host(tmp_path / "a", PRODUCT.encode(), None), host(tmp_path / "b", None, INSTALLATION.encode())
    identities = " ".join(machine.identity(root) for root in both)

    assert PRODUCT not in identities
    assert INSTALLATION not in identities
