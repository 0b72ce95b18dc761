# SPDX-License-Identifier: Apache-2.0
"""The table of the driver's files, and the capabilities it gives for a name."""

from __future__ import annotations

import pytest
from gpubind_cdi import libraries

CAPABILITIES = {"compute", "compat32", "display", "graphics", "ngx", "utility", "video"}


def test_every_row_has_known_capabilities_and_says_why() -> None:
    table = libraries.table()
    uses = [
        *table.libraries.values(),
        *table.modules.values(),
        *table.binaries.values(),
        *table.firmware.values(),
        *table.configs.values(),
        *table.sockets,
        *table.nodes.values(),
        *table.gpu_nodes.values(),
    ]
    assert all(set(use.capabilities) <= CAPABILITIES - {"compat32"} and use.why for use in uses)
    assert all(extra.of in table.libraries and extra.why for extra in table.links)


def test_what_cuda_and_nvml_need_is_required_and_nothing_else() -> None:
    table = libraries.table()
    rows = {**table.libraries, **table.binaries, **table.configs, **table.nodes}
    assert {name for name, use in rows.items() if use.required} == {
        "libcuda.so",
        "libnvidia-ml.so",
        "libnvidia-ptxjitcompiler.so",
        "/dev/nvidiactl",
        "/dev/nvidia-uvm",
    }


@pytest.mark.parametrize(
    ("name", "capabilities"),
    [
        ("libcuda.so.550.54.15", ("compute", "video")),
        ("/usr/lib64/libcuda.so.1", ("compute", "video")),
        ("libcuda.so", ("compute", "video")),
        ("libnvidia-ml.so.1", ("utility",)),
        ("libnvidia-egl-gbm.so.1.1.1", ("graphics", "display")),
        ("libnvidia-ngx.so.1", ("ngx",)),
        ("/usr/bin/nvidia-smi", ("utility",)),
        ("nvidia_drv.so", ("display",)),
        ("/usr/lib/xorg/modules/extensions/libglxserver_nvidia.so.550.54.15", ("display",)),
        ("libglxserver_nvidia.so", ("display",)),
        ("/etc/vulkan/icd.d/nvidia_icd.json", ("graphics", "display")),
        ("/dev/nvidia-uvm", ("compute", "video")),
        ("/dev/nvidia-modeset", ("display", "graphics")),
        ("/dev/dri/renderD128", ("graphics", "display")),
        ("/run/nvidia-persistenced/socket", ("utility",)),
    ],
)
def test_a_known_name_gives_its_capabilities(name: str, capabilities: tuple[str, ...]) -> None:
    assert libraries.capabilities_of(name) == capabilities


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "/dev/nvidiactl",
        "/dev/nvidia0",
        "/dev/nvidia-caps/nvidia-cap3",
        "libcudart.so.12",
        "libcuda.sox",
        "libcuda",
        "nvidia-smi.bak",
        "/lib/firmware/nvidia/550.54.15/gsp_ga10x.bin",
        "\udcff",
    ],
)
def test_an_unknown_name_and_what_all_need_give_none(name: str) -> None:
    assert libraries.capabilities_of(name) == ()
