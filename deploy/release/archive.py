"""Archives whose bytes follow from their contents: sorted, of one time and one owner."""

import gzip
import io
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

BLOCK_BYTES: Final = 1 << 20


class Entry(NamedTuple):
    """A file, folder or link by its path in an archive."""

    name: str
    content: bytes | Path | None = None
    """Bytes, a file that has them, or None for a folder."""
    link: str = ""
    mode: int = 0o644
    owner: int = 0


def entries(folder: Path, prefix: str) -> list[Entry]:
    """All below a folder, with the modes that it has."""
    below = [Entry(prefix, mode=0o755)] if prefix else []
    for path in sorted(folder.rglob("*")):
        name = f"{prefix}/{path.relative_to(folder)}".lstrip("/")
        if path.is_symlink():
            below.append(Entry(name, link=str(path.readlink()), mode=0o777))
        else:
            below.append(Entry(name, None if path.is_dir() else path, mode=path.stat().st_mode & 0o7777))
    return below


def tar(contents: Iterable[Entry], epoch: int) -> bytes:
    """A tar of entries, in order of their names, with the folders above them.

    Raises:
        ValueError: two entries have one name.
    """
    by_name: dict[str, Entry] = {}
    for entry in contents:
        if entry.name in by_name and by_name[entry.name] != entry:
            raise ValueError(f"{entry.name}: two entries")
        by_name[entry.name] = entry
    for name in list(by_name):
        for above in list(Path(name).parents)[:-1]:
            by_name.setdefault(str(above), Entry(str(above), mode=0o755))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, entry in sorted(by_name.items()):
            info = tarfile.TarInfo(name)
            info.mtime, info.mode = epoch, entry.mode
            info.uid = info.gid = entry.owner
            if entry.link:
                info.type, info.linkname = tarfile.SYMTYPE, entry.link
                archive.addfile(info)
            elif entry.content is None:
                info.type = tarfile.DIRTYPE
                archive.addfile(info)
            else:
                content = entry.content if isinstance(entry.content, bytes) else entry.content.read_bytes()
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def gzipped(content: bytes) -> bytes:
    """As gzip, without a time and a name."""
    return gzip.compress(content, compresslevel=6, mtime=0)
