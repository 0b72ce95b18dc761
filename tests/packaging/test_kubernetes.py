# SPDX-License-Identifier: Apache-2.0
"""The manifests: what kubectl makes of them and the chart gives is valid, alike, and unprivileged.

Valid by Kubernetes' own schemas; no API server has seen them. The chart is rendered by
`chart_rendering`, as helm can't be had here.
"""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
from typing import Any

import chart_rendering
import checkout
import kubernetes_validate
import pytest
import yaml

from gpubind_ctl.labels import config as labels_config
from gpubind_plugin import configfile, options

PLACE = os.path.join(checkout.ROOT, "packaging", "kubernetes")
CHART = os.path.join(PLACE, "chart")
OVERLAYS = sorted(os.listdir(os.path.join(PLACE, "overlays")))
KNOWN = kubernetes_validate.utils.all_versions()
VERSIONS = (KNOWN[0], KNOWN[-1])
SLICED = "version: v1\nsharing: {timeSlicing: {resources: [{name: gpu, replicas: 4}]}}\n"
FOUR = SLICED.replace("name: gpu", "name: nvidia.com/gpu")
VALUES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "configs": {"configs": {"default": "version: v1\n", "sliced": SLICED}},
    "only-named": {"configs": {"a": SLICED, "b": SLICED}, "labels": {"enabled": True}},
    "mig": {"migStrategy": "mixed", "labels": {"enabled": True}},
    "cdi": {"cdi": True, "deviceListStrategy": "cdi-annotations,cdi-cri"},
    "mps": {
        "configs": {"default": SLICED.replace("timeSlicing", "mps")},
        "mps": {"config": "default"},
        "env": {"DP_DISABLE_HEALTHCHECKS": 13},
    },
    "bare": {"runtimeClass": {"create": False}, "tolerations": []},
}
Documents = list[dict[str, Any]]


def built(folder: str) -> Documents:
    """Give what `kubectl kustomize` makes of a folder."""
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("there is no kubectl here to render with")
    words = [program, "kustomize", os.path.join(PLACE, folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def of(name: str) -> Documents:
    """Give the documents of a case: an overlay, `base`, or values of the chart."""
    if name.startswith("chart:"):
        return chart_rendering.rendered(CHART, VALUES[name.partition(":")[2]], "gpubind")
    return built(name if name == "base" else f"overlays/{name}")


CASES = ["base", *OVERLAYS, *(f"chart:{name}" for name in VALUES)]


def pods(documents: Documents) -> dict[str, dict[str, Any]]:
    """Give the pods' specs by their DaemonSets' names."""
    return {
        one["metadata"]["name"]: one["spec"]["template"]["spec"]
        for one in documents
        if one["kind"] == "DaemonSet"
    }


@pytest.mark.parametrize("case", CASES)
def test_all_is_valid_by_kubernetes_schemas(case: str) -> None:
    documents = of(case)
    assert documents
    for document in documents:
        for version in VERSIONS:
            kubernetes_validate.validate(copy.deepcopy(document), version, strict=True)


def test_an_invalid_manifest_is_seen() -> None:
    (daemon,) = (one for one in of("chart:defaults") if one["kind"] == "DaemonSet")
    daemon["spec"]["template"]["spec"]["containers"][0]["imagee"] = "x"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(daemon, VERSIONS[0], strict=True)


ALIKE: dict[str, dict[str, Any]] = {
    "base": {},
    "labels": {"labels": {"enabled": True}},
    "time-slicing": {"configs": {"default": FOUR}},
    "mig-mixed": {"migStrategy": "mixed"},
    "cdi": {"cdi": True, "deviceListStrategy": "cdi-annotations,cdi-cri"},
    "mps": {
        "configs": {"default": FOUR.replace("timeSlicing", "mps")},
        "mps": {"config": "default"},
        "labels": {"enabled": True},
    },
}


@pytest.mark.parametrize("overlay", ALIKE)
def test_the_chart_gives_what_the_overlay_does(overlay: str) -> None:
    chart = chart_rendering.rendered(CHART, ALIKE[overlay], "gpubind")
    assert compared(chart) == compared(of(overlay))


def compared(documents: Documents) -> dict[str, Any]:
    """Give the documents by name, without what may differ: order, names of ConfigMaps, policies."""
    found: dict[str, Any] = {}
    for one in copy.deepcopy(documents):
        if one["kind"] == "ConfigMap":
            found["ConfigMap"] = [yaml.safe_load(text) for text in one["data"].values()]
        elif one["kind"] == "DaemonSet":
            one["spec"].pop("updateStrategy", None)
            one["spec"]["template"]["metadata"].pop("annotations", None)
            spec = one["spec"]["template"]["spec"]
            for container in (*spec["containers"], *spec.get("initContainers", ())):
                container.pop("imagePullPolicy", None)
                for key in ("env", "volumeMounts"):
                    ordered = sorted(
                        container.get(key, ()), key=lambda one: str(sorted(one.items()))
                    )
                    # the path of the hook is the plugin's default
                    container[key] = [v for v in ordered if v["name"] != "NVIDIA_CDI_HOOK_PATH"]
            spec["volumes"].sort(key=lambda volume: str(volume["name"]))
            for volume in spec["volumes"]:
                volume.get("configMap", {}).pop("name", None)
            found[one["metadata"]["name"]] = one
        elif one["kind"] != "Namespace":
            found[one["kind"]] = one
    return found


@pytest.mark.parametrize("case", CASES)
def test_only_the_mps_daemon_is_privileged_and_all_roots_are_read_only(case: str) -> None:
    for name, spec in pods(of(case)).items():
        assert spec["automountServiceAccountToken"] is False
        for container in (*spec["containers"], *spec.get("initContainers", ())):
            rights = container["securityContext"]
            assert rights["readOnlyRootFilesystem"] is True
            if "mps-control-daemon" in name:
                continue
            added = ["SYS_ADMIN"] if "mig" in case and "plugin" in name else None
            assert rights["capabilities"] == {
                "drop": ["ALL"],
                **({"add": added} if added else {}),
            }
            assert rights["allowPrivilegeEscalation"] is False
            assert "privileged" not in rights
            assert "hostPID" not in spec


@pytest.mark.parametrize("case", CASES)
def test_every_mount_has_its_volume_and_every_volume_its_config(case: str) -> None:
    documents = of(case)
    maps = {one["metadata"]["name"] for one in documents if one["kind"] == "ConfigMap"}
    used = set()
    for spec in pods(documents).values():
        names = {volume["name"] for volume in spec["volumes"]}
        containers = (*spec["containers"], *spec.get("initContainers", ()))
        mounted = {one["name"] for each in containers for one in each["volumeMounts"]}
        assert mounted == names
        used |= {one["configMap"]["name"] for one in spec["volumes"] if "configMap" in one}
    assert used == maps


@pytest.mark.parametrize("case", CASES)
def test_every_configuration_and_variable_is_one_that_the_programs_know(case: str) -> None:
    documents = of(case)
    known = {name for row in options.ROWS for name in row.env}
    for document in documents:
        if document["kind"] == "ConfigMap":
            for text in document["data"].values():
                found = configfile.parse(text.encode(), "config.yaml", options.ROWS)
                assert found.warnings == ()
                assert labels_config.load_bytes(text.encode(), "config.yaml").options == {}
    for name, spec in pods(documents).items():
        for variable in (one["name"] for one in spec["containers"][0]["env"]):
            if not variable.startswith(
                ("NVIDIA_VISIBLE", "NVIDIA_DRIVER_CAP", "NVIDIA_MIG", "DP_")
            ):
                assert variable in known or variable.startswith("GFD_") == ("labels" in name)


@pytest.mark.parametrize("case", ["per-node", "chart:configs", "chart:only-named"])
@pytest.mark.parametrize("label", ["", "default", "sliced", "a", "b", "other"])
def test_a_node_has_one_plugin_whatever_its_label_says(case: str, label: str) -> None:
    labels = {"nvidia.com/gpu.present": "true"}
    if label:
        labels["nvidia.com/device-plugin.config"] = label
    chosen = [
        name for name, spec in pods(of(case)).items() if "plugin" in name and _fits(spec, labels)
    ]
    ((name),) = chosen
    named = label in ("a", "b") if case == "chart:only-named" else label == "sliced"
    assert name.endswith(f"-{label}") if named else not name.endswith(("-sliced", "-a", "-b"))


def _fits(spec: dict[str, Any], labels: dict[str, str]) -> bool:
    """Tell whether a pod may be on a node with these labels, as a scheduler does."""
    if any(labels.get(key) != said for key, said in spec.get("nodeSelector", {}).items()):
        return False
    required = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    return any(
        all(
            (labels.get(one["key"]) in one["values"]) == (one["operator"] == "In")
            for one in term["matchExpressions"]
        )
        for term in required["nodeSelectorTerms"]
    )


def test_the_chart_names_no_value_that_it_lacks_and_uses_each() -> None:
    with open(os.path.join(CHART, "values.yaml"), encoding="utf-8") as file:
        values = yaml.safe_load(file)
    text = "".join(
        checkout.text(CHART, f"templates/{name}")
        for name in os.listdir(os.path.join(CHART, "templates"))
    )
    used = set(re.findall(r"\.Values\.(\w+)", text))
    assert used == values.keys()


def test_the_image_names_a_user_and_the_packages_there_are() -> None:
    text = checkout.text(PLACE, "Containerfile")
    assert re.search(r"^USER 0:0$", text, re.MULTILINE)
    packages = set(re.findall(r"/packages/([a-z-]+)_\*", text))
    declared = set(
        re.findall(
            r"^\[([a-z-]+)\]$",
            checkout.text(checkout.ROOT, "packaging/packages.toml"),
            re.MULTILINE,
        )
    )
    assert packages <= declared


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("{{ if $.a }}x", ValueError),
        ("x{{ end }}", ValueError),
        ("{{ tpl $.a }}", KeyError),
        ("{{ $.b }}", KeyError),
    ],
)
def test_the_renderer_refuses_what_it_does_not_know(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        chart_rendering.Template(text).render({"a": 1})
