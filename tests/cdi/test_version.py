# SPDX-License-Identifier: Apache-2.0
"""The lowest CDI version that knows all a spec uses."""

from __future__ import annotations

from typing import Any

import cdidocs
import pytest
from gpubind_cdi import limit, version
from gpubind_cdi.model import Spec

GIDS: dict[str, Any] = {"additionalGids": [44]}
NEEDS: dict[str, tuple[dict[str, Any], str]] = {
    "nothing new": (cdidocs.spec(), "0.3.0"),
    "mount type": (
        cdidocs.spec(containerEdits={"mounts": [{"type": "bind"}]}),
        "0.4.0",
    ),
    "host path of a node": (
        cdidocs.spec(cdidocs.device(deviceNodes=[{"path": "/a", "hostPath": "/b"}])),
        "0.5.0",
    ),
    "name that starts with a digit": (cdidocs.spec(cdidocs.device("0")), "0.5.0"),
    "name with a digit inside": (cdidocs.spec(cdidocs.device("a0")), "0.3.0"),
    "annotation of the spec": (cdidocs.spec(annotations={"a": "b"}), "0.6.0"),
    "annotation of a device": (
        cdidocs.spec({**cdidocs.device(), "annotations": {"a": "b"}}),
        "0.6.0",
    ),
    "empty annotations": (cdidocs.spec(annotations={}), "0.3.0"),
    "dot in the class": (cdidocs.spec(kind="a.b/c.d"), "0.6.0"),
    "dot in the vendor": (cdidocs.spec(kind="a.b/c"), "0.3.0"),
    "gids of the spec": (cdidocs.spec(containerEdits=GIDS), "0.7.0"),
    "gids of a device": (cdidocs.spec(cdidocs.device(**GIDS)), "0.7.0"),
    "rdt, empty": (cdidocs.spec(cdidocs.device(intelRdt={})), "0.7.0"),
    "rdt with schemata": (cdidocs.spec(cdidocs.device(intelRdt={"schemata": ["a"]})), "1.1.0"),
    "rdt with monitoring": (
        cdidocs.spec(cdidocs.device(intelRdt={"enableMonitoring": True})),
        "1.1.0",
    ),
    "net devices": (cdidocs.spec(containerEdits={"netDevices": [{"name": "a"}]}), "1.1.0"),
    "old and new": (cdidocs.spec(cdidocs.device("0", netDevices=[{}], **GIDS)), "1.1.0"),
}


@pytest.mark.parametrize("use", NEEDS)
def test_each_use_needs_its_version(use: str) -> None:
    document, lowest = NEEDS[use]
    assert version.required(Spec.parse(document)) == lowest


def test_reasons_come_newest_first_and_end_with_cdi_itself() -> None:
    spec = Spec.parse(cdidocs.spec(cdidocs.device("0", **GIDS)))
    assert version.reasons(spec) == (
        ("0.7.0", "additionalGids"),
        ("0.5.0", "a device name that starts with a digit"),
        ("0.3.0", "every spec"),
    )


@pytest.mark.parametrize(
    ("given", "lifted"),
    [
        ("0.3.0", "0.5.0"),
        ("0.5.0", "0.5.0"),
        ("v0.5.0", "v0.5.0"),
        ("1.1.0", "1.1.0"),
        ("", "0.5.0"),
        ("9.9.9", "0.5.0"),
    ],
)
def test_a_version_is_lifted_and_never_lowered(given: str, lifted: str) -> None:
    spec = Spec.parse(cdidocs.spec(cdidocs.device("0"), cdiVersion=given))
    assert version.lifted(spec).cdi_version == lifted


def test_versions_are_known_in_their_order() -> None:
    assert version.KNOWN[0] == "0.1.0"
    assert version.KNOWN[-1] == "1.1.0"
    assert version.EARLIEST in version.KNOWN
    numbers = [tuple(map(int, known.split("."))) for known in version.KNOWN]
    assert numbers == sorted(numbers)
    assert {needed for needed, _, _ in version.NEEDS} <= set(version.KNOWN)


def test_a_limit_that_is_not_firm_is_lifted_to_the_next_that_will_do() -> None:
    spec = Spec.parse(
        cdidocs.spec(
            cdidocs.device("0", deviceNodes=[{"path": "/a", "hostPath": "/b"}]),
            containerEdits={"additionalGids": [44]},
            cdiVersion="0.7.0",
        )
    )
    fitting, left_out = limit.fit(spec, "0.3.0", firm=False)
    assert (fitting.cdi_version, left_out) == ("0.5.0", ("additionalGids (needs CDI 0.7.0)",))
    assert limit.fit(spec, "0.7.0", firm=False) == (spec, ())
    assert limit.fit(spec, "", firm=False) == (spec, ())
