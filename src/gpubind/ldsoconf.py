# SPDX-License-Identifier: Apache-2.0
"""What a container's library search files must say so that our folders stay found later on.

The loader reads ld.so.cache; these files matter when somebody runs ldconfig in the container, and
where the C library is musl, which has no cache. Bytes in, bytes out; None means: leave it as it is.
"""

from __future__ import annotations

from gpubind.errors import DocumentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

DROP_IN = "/etc/ld.so.conf.d/00-gpubind.conf"
"""Where `drop_in` belongs: before all others in the order ldconfig reads them."""

_INCLUDE = b"include /etc/ld.so.conf.d/*.conf\n"
_INCLUDING = {  # relative patterns count from /etc, the folder of ld.so.conf
    b"/etc/ld.so.conf.d/*.conf",
    b"/etc/ld.so.conf.d/*",
    b"ld.so.conf.d/*.conf",
    b"ld.so.conf.d/*",
}
_MUSL_DEFAULT = b"/lib:/usr/local/lib:/usr/lib"  # ldso/dynlink.c, where the path file is absent
_SPECIAL = b"#=:"  # a comment, a library type (glibc before 2.32), musl's separator


def drop_in(folders: Iterable[bytes]) -> bytes:
    """Give the content of `DROP_IN`: one folder a line, each once, in order.

    Raises DocumentError [LDCONF-FOLDER] for a folder that such a file can't name.
    """
    return b"".join(folder + b"\n" for folder in _checked(folders))


def conf_with_include(existing: bytes | None) -> bytes | None:
    """Give what /etc/ld.so.conf must say so that ldconfig reads /etc/ld.so.conf.d/*.conf.

    `existing` is None where there is no such file; None comes back where nothing needs to change.
    The line goes first: of two folders with one library, ldconfig takes the first.
    """
    if existing is None:
        return _INCLUDE
    for line in existing.split(b"\n"):
        words = line.partition(b"#")[0].split()
        if words[:1] == [b"include"] and not _INCLUDING.isdisjoint(words[1:]):
            return None
    return _INCLUDE + existing


def including(name: bytes) -> bytes:
    """Give a search file that only includes another; an empty one where that can't be named."""
    plain = name.startswith(b"/") and not any(c <= 32 or c == 127 or c in b"#*?[\\" for c in name)
    return b"include " + name + b"\n" if plain else b""


def musl_folders(text: bytes) -> list[bytes]:
    """Give the absolute folders in the text of musl's /etc/ld-musl-ARCH.path."""
    parts = text.partition(b"\0")[0].replace(b":", b"\n").split(b"\n")  # musl stops at a NUL
    return [part for part in parts if part.startswith(b"/")]


def musl_path(existing: bytes | None, folders: Iterable[bytes]) -> bytes | None:
    """Give what musl's /etc/ld-musl-ARCH.path must say so that `folders` are searched, first.

    `existing` is None where there is no such file: musl's own folders are then kept in the new one.
    None comes back where all `folders` are searched already.
    Raises DocumentError [LDCONF-FOLDER] for a folder that such a file can't name.
    """
    text = _MUSL_DEFAULT if existing is None else existing
    searched = text.partition(b"\0")[0].replace(b":", b"\n").split(b"\n")  # musl stops at a NUL
    missing = [folder for folder in _checked(folders) if folder not in searched]
    if not missing:
        return None
    return b"\n".join([*missing, text if existing is not None else text + b"\n"])


def _checked(folders: Iterable[bytes]) -> list[bytes]:
    """Give `folders`, each once; all must be absolute and without what the files give a meaning."""
    unique = list(dict.fromkeys(folders))
    for folder in unique:
        odd = any(letter < 32 or letter == 127 or letter in _SPECIAL for letter in folder)
        if odd or not folder.startswith(b"/") or folder != folder.strip():
            what = f"library folder {folder!r} can't stand in a loader's search file"
            raise DocumentError(
                f"{what}: not absolute, or with a control character, '#', '=', ':' or a blank end",
                identifier="LDCONF-FOLDER",
            )
    return unique
