# SPDX-License-Identifier: Apache-2.0
"""Write an .rpm of a tree: a spec file, and rpmbuild on a folder of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import textwrap
import time
from typing import TYPE_CHECKING, Any

import contents
import debs

if TYPE_CHECKING:
    from contents import Tree

LICENCES = "/usr/share/licenses"
SCRIPTS = {
    "post": ("installed", ""),
    "preun": ("leaving", '[ "$1" = 0 ] || exit 0\n'),
    "postun": ("left", '[ "$1" = 0 ] || exit 0\n'),
}
"""Scriptlets, the function each calls, and what it asks before: nothing is left by an upgrade."""
HEAD = """\
Name: {name}
Version: {number}
Release: {revision}
Summary: {summary}
Group: System Environment/Base
Packager: {maintainer}
License: Apache-2.0
BuildArch: noarch
AutoReqProv: no
{relations}
%description
{text}

"""
DEFINED = {
    "_build_id_links": "none",
    "_buildhost": "gpubind",
    "_binary_payload": "w9.gzdio",
    "_source_payload": "w9.gzdio",
    "__os_install_post": "%{nil}",
    "use_source_date_epoch_as_buildtime": "1",
    "clamp_mtime_to_source_date_epoch": "1",
}


def scriptlets(name: str) -> str:
    """Give the scriptlets of a package as parts of a spec file."""
    known = debs.functions(name)
    made = ""
    for script, (call, guard) in SCRIPTS.items():
        if f"{call}()" in known:
            then = "\nforgotten" if call == "left" and "forgotten()" in known else ""
            text = f'set -e\n{known}\n{guard}{call} "$@"{then}\n'.replace("%", "%%")
            made += f"%{script} -p /bin/sh\n{text}\n"
    return made


def spec(tree: Tree, name: str, about: dict[str, Any], epoch: int) -> str:
    """Give the spec file of a package, from its tree."""
    number, revision = about["version"].split("-")
    relations = "".join(
        f"{key}: {text.format(version=about['version'])}\n" for key, text in about["rpm"].items()
    )
    text = textwrap.fill(about["description"].strip(), 76)
    told = {**about, "number": number, "revision": revision, "text": text}
    head = HEAD.format(name=name, relations=relations, **told)
    listed = ["%defattr(-,root,root,-)"]
    for path in sorted({**tree.files, **tree.links}):
        mark = "%config(noreplace) " if path in tree.configuration else ""
        mark = "%license " if path.startswith(LICENCES) else mark
        mark = "%doc " if path.startswith("/usr/share/man") else mark
        listed.append(f"{mark}{path}")
    listed += [f"%dir {folder}" for folder in folders(tree)]
    day = time.strftime("%a %b %d %Y", time.gmtime(epoch))
    listed += ["", "%changelog", f"* {day} {about['maintainer']} - {about['version']}"]
    listed += ["- The changes of this version are in CHANGELOG.md."]
    return f"{head}{scriptlets(name)}%files\n" + "\n".join(listed) + "\n"


def folders(tree: Tree) -> list[str]:
    """Give the folders that are ours alone, and go with the package."""
    found = set()
    for path in tree.files:
        while "/gpubind" in (path := os.path.dirname(path)):
            found.add(path)
    return sorted(found)


def build(tree: Tree, name: str, about: dict[str, Any], output: str, epoch: int) -> str:
    """Build the package from its tree into the folder `output` and give the file."""
    tree.add(f"{LICENCES}/{name}/LICENSE", "LICENSE")
    tree.add(f"/usr/share/doc/{name}/CHANGELOG.md", "CHANGELOG.md")
    with tempfile.TemporaryDirectory(prefix="gpubind-") as place:
        contents.write(tree, f"{place}/root", epoch)
        with open(f"{place}/it.spec", "w", encoding="utf-8") as file:
            file.write(spec(tree, name, about, epoch))
        defined = {**DEFINED, "_topdir": f"{place}/top", "_rpmdir": f"{place}/rpms"}
        words = ["-bb", "--quiet", "--nodeps", f"--buildroot={place}/root", "--noprep", "--noclean"]
        words += [f"--define={key} {value}" for key, value in defined.items()]
        env = {"PATH": os.defpath, "SOURCE_DATE_EPOCH": str(epoch), "HOME": place, "LC_ALL": "C"}
        subprocess.run(["/usr/bin/rpmbuild", *words, f"{place}/it.spec"], check=True, env=env)
        file_name = f"{name}-{about['version']}.noarch.rpm"
        shutil.copyfile(f"{place}/rpms/noarch/{file_name}", f"{output}/{file_name}")
    return f"{output}/{file_name}"
