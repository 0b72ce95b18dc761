# SPDX-License-Identifier: Apache-2.0
"""`gpubind xid explain`: what an error of the kernel module means and what the plugin does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click
from gpubind_cdi import xids

from gpubind.errors import DocumentError, UsageError
from gpubind_ctl import options
from gpubind_ctl.answer import Answer

if TYPE_CHECKING:
    from gpubind_cdi.xids import Xid

BECOMES = {
    xids.Action.IGNORE: "nothing",
    xids.Action.RESTART_APP: "nothing: only the program is hurt",
    xids.Action.SUSPECT: "suspect, still given out",
    xids.Action.UNHEALTHY: "unhealthy until looks at it are clean",
    xids.Action.RESET: "unhealthy until it was reset",
    xids.Action.DRAIN: "unhealthy until it was reset",
}


@click.command()
@click.argument("numbers", nargs=-1, required=True, metavar="N...")
@click.option(
    "--policy-file",
    metavar="FILE",
    envvar="HEALTH_POLICY_FILE",
    default="",
    help="What is to be otherwise, as the device plugin is told.",
)
@options.as_json
def command(numbers: tuple[str, ...], policy_file: str, as_json: bool) -> Answer:  # noqa: FBT001 - click's way
    """Say what an Xid, an error number of NVIDIA's kernel module, means.

    The number stands in dmesg after the GPU's address: NVRM: Xid (PCI:0000:07:00): 79, ...
    """
    policy = xids.load(policy_file)
    found = [policy.xid(_number(word)) for word in numbers]
    if as_json:
        return Answer(text=json.dumps({"xids": [*map(_document, found)]}, indent=2) + "\n")
    return Answer(text="\n".join(map(_text, found)))


def _number(word: str) -> int:
    try:
        return xids.number(word)
    except DocumentError as error:
        raise UsageError(
            error.message, identifier="USE-XID", hint="give the number that dmesg shows"
        ) from None


def _document(xid: Xid) -> dict[str, Any]:
    return {
        "xid": xid.number,
        "name": xid.name,
        "meaning": xid.meaning,
        "action": xid.action.value,
        "gpu": BECOMES[xid.action],
        "todo": xid.advice,
        "catalog": xid.immediate,
        "sources": [{"source": name, "is": xids.SOURCES[name]} for name in xid.sources],
    }


def _text(xid: Xid) -> str:
    """Give the lines on one Xid."""
    title = f"Xid {xid.number}" + (f", {xid.name}" if xid.name else "")
    rows = [
        ("meaning", xid.meaning),
        ("action", xid.action.value),
        ("the GPU", f"becomes {BECOMES[xid.action]}"),
        ("to do", xid.advice),
        *([("catalog", xid.immediate)] if xid.immediate else []),
        *(("source", xids.SOURCES[name]) for name in xid.sources),
    ]
    return "".join([f"{title}\n", *(f"  {name + ':':9} {text}\n" for name, text in rows)])
