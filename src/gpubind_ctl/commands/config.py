# SPDX-License-Identifier: Apache-2.0
"""`gpubind config`: the operator's settings shown, checked and changed; comments and order stay."""

from __future__ import annotations

import difflib
import os
from typing import TYPE_CHECKING

import click

from gpubind import configfile, root
from gpubind.config import DEFAULTS, LDCONFIG
from gpubind.errors import UsageError
from gpubind_ctl import options, toml, writing
from gpubind_ctl.answer import Answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpubind_ctl.toml import Value

TEMPLATE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "default.toml")
REAL_LDCONFIG = "/sbin/ldconfig.real"  # Debian's, where /sbin/ldconfig is a script
RELEASE = "/etc/os-release"
FEATURES = "features."
_BOM = b"\xef\xbb\xbf"
_TRUE = ("true", "1", "t", "T", "TRUE", "True")
_FALSE = ("false", "0", "f", "F", "FALSE", "False")

output = click.option("--output", "-o", metavar="FILE", help="Write it there, not to the terminal.")


@click.group(invoke_without_command=True)
@options.config_file_here
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Set a key.")
@click.option("--set-list-separator", "separator", default=":", hidden=True)
@click.option("--in-place", "-i", is_flag=True, help="Change the file itself.")
@output
@click.pass_context
def command(
    context: click.Context,
    config_file: str,
    settings: tuple[str, ...],
    separator: str,
    in_place: bool,  # noqa: FBT001 - click's signature
    output: str | None,
) -> Answer | None:
    """Show the settings, or change some.

    Commas are part of a value; the parts of a list are separated by colons. A file that is not
    there is made from the defaults. A key of [features] set to nil is removed. Keys that do not
    exist are kept and named.
    """
    if context.invoked_subcommand is not None:
        return None
    if in_place and output:
        raise UsageError(
            "--in-place and --output contradict each other",
            identifier="USE-OUTPUT",
            hint="leave out one of them",
        )
    data = _data(config_file)
    old = default() if data is None else configfile.text_of(data, config_file)
    new = _changed(old, settings, separator, config_file)
    values = configfile.keys(new, config_file)
    configfile.check(values, config_file)
    notes = tuple(_unknown(key, config_file) for key in values if key not in DEFAULTS)
    target = config_file if in_place else output
    if not target:
        return Answer(text=new, notes=notes)
    mark = _BOM if data is not None and data.startswith(_BOM) else b""
    if target != config_file or data is None or new != old:
        writing.put(target, mark + new.encode())
    return Answer(notes=notes)


def _changed(text: str, settings: Sequence[str], separator: str, name: str) -> str:
    """Give the text with the settings made, one after the other."""
    for word in settings:
        path, value = _setting(word, separator)
        if value is None:
            text = toml.removed(text, path, name)
        else:
            text = toml.changed(text, path, value, name)
    return text


def _default(output: str | None) -> Answer:
    """Show the default settings of this host."""
    text = default()
    if not output:
        return Answer(text=text)
    writing.put(output, text.encode())
    return Answer()


for _name in ("default", "create-default", "generate-default"):
    command.command(_name, help=_default.__doc__, hidden=_name != "default")(
        output(lambda output: _default(output))
    )


def default() -> str:
    """Give the text of the default config.toml, as it fits this host."""
    with open(TEMPLATE, encoding="utf-8") as file:
        text = file.read()
    if os.path.exists(REAL_LDCONFIG):
        text = toml.changed(text, LDCONFIG.split("."), f"@{REAL_LDCONFIG}", TEMPLATE)
    if _is_suse():
        text = toml.changed(text, ["nvidia-container-cli", "user"], "root:video", TEMPLATE)
    return text


def _is_suse() -> bool:
    """Tell whether the host is of the family whose device nodes belong to the group video."""
    try:
        with open(RELEASE, encoding="utf-8", errors="replace") as file:
            lines = file.read(1 << 16).splitlines()
    except OSError:
        return False
    return any(line.startswith("ID_LIKE=") and "suse" in line for line in lines)


def _data(file: str) -> bytes | None:
    """Give a file's bytes, None where it is not there. Raises OSError."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except FileNotFoundError:
        return None
    try:
        return root.contents(fd, file, configfile.LIMIT)
    finally:
        os.close(fd)


def _setting(word: str, separator: str) -> tuple[Sequence[str], Value | None]:
    """Give a key's path and its value, None to remove it. Raises UsageError."""
    key, equals, text = word.partition("=")
    if key not in DEFAULTS:
        raise UsageError(
            f"--set {word}: there is no key {key!r}{_nearest(key)}", identifier="CONFIG-KEY"
        )
    kind = DEFAULTS[key]
    if key.startswith(FEATURES) and text == "nil":
        return key.split("."), None
    if isinstance(kind, bool):
        if text not in (*_TRUE, *_FALSE) and equals:
            raise _bad(word, "expected true or false")
        return key.split("."), text in _TRUE or not equals
    if not equals:
        raise _bad(word, "expected KEY=VALUE")
    if isinstance(kind, list):
        return key.split("."), [part for part in text.split(separator) if part]
    return key.split("."), text


def _bad(word: str, message: str) -> UsageError:
    return UsageError(f"--set {word}: {message}", identifier="CONFIG-KEY")


def _unknown(key: str, file: str) -> str:
    return f"warning: {file}: there is no key {key}{_nearest(key)}; it is kept and has no effect"


def _nearest(key: str) -> str:
    near = difflib.get_close_matches(key, DEFAULTS, n=1)
    return f", is {near[0]} meant?" if near else ""
