# SPDX-License-Identifier: Apache-2.0
"""The search files beside the cache: ld.so.conf, its drop-in, and musl's path file."""

import pytest

from gpubind.errors import DocumentError
from gpubind.ldsoconf import DROP_IN, conf_with_include, drop_in, musl_path

INCLUDE = b"include /etc/ld.so.conf.d/*.conf\n"
FOLDERS = [b"/usr/lib/x86_64-linux-gnu", b"/usr/lib/i386-linux-gnu"]
MUSL = b"/lib:/usr/local/lib:/usr/lib"


def test_the_drop_in_names_each_folder_once_in_order() -> None:
    assert DROP_IN == "/etc/ld.so.conf.d/00-gpubind.conf"
    assert drop_in([*FOLDERS, FOLDERS[0]]) == b"\n".join([*FOLDERS, b""])
    assert drop_in([]) == b""


@pytest.mark.parametrize(
    ("existing", "want"),
    [
        (None, INCLUDE),
        (b"", INCLUDE),
        (b"/opt/lib\n", INCLUDE + b"/opt/lib\n"),
        (b"/opt/lib", INCLUDE + b"/opt/lib"),
        (
            b"# include /etc/ld.so.conf.d/*.conf\n",
            INCLUDE + b"# include /etc/ld.so.conf.d/*.conf\n",
        ),
        (b"include /etc/other.d/*.conf\n", INCLUDE + b"include /etc/other.d/*.conf\n"),
        (b"include /a # /etc/ld.so.conf.d/*", INCLUDE + b"include /a # /etc/ld.so.conf.d/*"),
        (b"hwcap ld.so.conf.d/*\n", INCLUDE + b"hwcap ld.so.conf.d/*\n"),
        (b"includes/etc/ld.so.conf.d/*\n", INCLUDE + b"includes/etc/ld.so.conf.d/*\n"),
        (INCLUDE, None),
        (b"/opt/lib\n\n include\t/etc/other.d/* /etc/ld.so.conf.d/*.conf # all", None),
        (b"include ld.so.conf.d/*.conf\n", None),
    ],
)
def test_ld_so_conf_includes_its_folder_once(existing: bytes | None, want: bytes | None) -> None:
    assert conf_with_include(existing) == want
    assert want is None or conf_with_include(want) is None


@pytest.mark.parametrize(
    ("existing", "want"),
    [
        (None, b"\n".join([*FOLDERS, MUSL, b""])),
        (MUSL, b"\n".join([*FOLDERS, MUSL])),
        (b"", b"\n".join([*FOLDERS, b""])),
        (b"/lib\n/usr/lib\n", b"\n".join([*FOLDERS, b"/lib\n/usr/lib\n"])),
        (b"/lib:" + FOLDERS[1], b"\n".join([FOLDERS[0], b"/lib:" + FOLDERS[1]])),
        (b"/lib\0\n" + FOLDERS[0], b"\n".join([*FOLDERS, b"/lib\0\n" + FOLDERS[0]])),
        (b":".join(FOLDERS), None),
        (b"\n".join([b"/lib", *FOLDERS]), None),
    ],
)
def test_musl_searches_ours_first_and_what_it_did_before(
    existing: bytes | None, want: bytes | None
) -> None:
    assert musl_path(existing, FOLDERS) == want
    assert want is None or musl_path(want, FOLDERS) is None


def test_musl_needs_no_file_for_its_own_folders() -> None:
    assert musl_path(None, [b"/usr/lib", b"/lib"]) is None
    assert musl_path(None, []) is None


@pytest.mark.parametrize(
    "folder",
    [
        b"",
        b"usr/lib",
        b"/usr/lib\n/evil",
        b"/usr/lib\0",
        b"/usr/lib\x1b[0m",
        b"/usr/lib\x7f",
        b"/usr/lib ",
        b"/usr/li#b",
        b"/usr/lib=libc5",
        b"/usr/lib:/evil",
    ],
)
def test_a_folder_that_would_say_something_else_is_refused(folder: bytes) -> None:
    with pytest.raises(DocumentError, match=r"can't stand in .*\[LDCONF-FOLDER\]$"):
        drop_in([folder])
    with pytest.raises(DocumentError, match=r"can't stand in .*\[LDCONF-FOLDER\]$"):
        musl_path(None, [folder])
