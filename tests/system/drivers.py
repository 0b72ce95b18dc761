# SPDX-License-Identifier: Apache-2.0
"""Driver roots: Debian's own NVIDIA packages as if installed, with an NVML stub.

A root is a minimal Debian plus one driver, with Debian's nvidia/current folder and its alternatives
(made by the packages' own script), and the stub, which tells of two GPUs, for libnvidia-ml.
"""

from __future__ import annotations

import dataclasses
import glob
import os
import re
import stat
import subprocess
import tempfile

from system import debian, roots

COMPONENTS = ("contrib", "non-free", "non-free-firmware")
PACKAGES = (
    "firmware-nvidia-gsp",
    "glx-alternative-nvidia",
    "libcuda1",
    "libcudadebugger1",
    "libegl-nvidia0",
    "libgles-nvidia1",
    "libgles-nvidia2",
    "libglx-nvidia0",
    "libnvcuvid1",
    "libnvidia-allocator1",
    "libnvidia-api1",
    "libnvidia-cfg1",
    "libnvidia-eglcore",
    "libnvidia-encode1",
    "libnvidia-fbc1",
    "libnvidia-glcore",
    "libnvidia-glvkspirv",
    "libnvidia-gpucomp",
    "libnvidia-ml1",
    "libnvidia-ngx1",
    "libnvidia-nvvm4",
    "libnvidia-opticalflow1",
    "libnvidia-pkcs11-openssl3",
    "libnvidia-ptxjitcompiler1",
    "nvidia-alternative",
    "nvidia-cuda-mps",
    "nvidia-driver-bin",
    "nvidia-egl-common",
    "nvidia-egl-icd",
    "nvidia-opencl-common",
    "nvidia-opencl-icd",
    "nvidia-persistenced",
    "nvidia-smi",
    "nvidia-vdpau-driver",
    "nvidia-vulkan-common",
    "nvidia-vulkan-icd",
)
# Which Debian release has which driver branch; the package names are the same.
RELEASES = {"535": "bookworm", "550": "trixie"}
CUDA = {"535": "12020", "550": "12040"}
STUB = os.path.join(os.path.dirname(__file__), "nvml_stub.c")
NODES = (
    ("nvidia0", 195, 0),
    ("nvidia1", 195, 1),
    ("nvidiactl", 195, 255),
    ("nvidia-modeset", 195, 254),
    ("nvidia-uvm", 510, 0),
    ("nvidia-uvm-tools", 510, 1),
)
UUIDS = (
    "GPU-5f3c1f0e-8a51-4d6b-9b59-0f6a7d1c0001",
    "GPU-5f3c1f0e-8a51-4d6b-9b59-0f6a7d1c0002",
)
GPUS = "".join(
    f"gpu uuid={uuid} minor={number} pci=0000:{bus}:00.0 name=NVIDIA_A30 brand=14 cc=8.0\n"
    for number, (uuid, bus) in enumerate(zip(UUIDS, ("17", "65"), strict=True))
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """A driver root; `libraries` is the folder of its libcuda, as seen inside the root."""

    root: str
    version: str
    libraries: str


def debian_driver(branch: str) -> Driver:
    """Give the root of a driver branch, such as 535: cached, never to be written to."""
    packages = debian.download(RELEASES[branch], COMPONENTS, PACKAGES)
    versions = [re.search(r"/libcuda1_([0-9.]+)", name) for name in packages]
    version = next((found[1] for found in versions if found), "no libcuda1")
    if not version.startswith(f"{branch}."):
        raise debian.UnavailableError(
            f"Debian {RELEASES[branch]} has driver {version}, not {branch}"
        )
    base = roots.minimal()

    def build(root: str) -> None:
        subprocess.run(["/usr/bin/cp", "--archive", f"{base}/.", root], check=True)
        debian.unpack(packages, root)
        script = next(name for name in packages if "/nvidia-alternative_" in name)
        _alternatives(root, script)
        _stub(root, f"driver {version}\ncuda {CUDA[branch]}\n{GPUS}")
        _proc(root, version)
        subprocess.run(["/usr/sbin/chroot", root, "/sbin/ldconfig"], check=True)

    with open(__file__, "rb") as recipe, open(STUB, "rb") as stub:
        key = repr((packages, base, recipe.read(), stub.read()))
    folder = debian.cached(f"driver-{branch}", key, build)
    return Driver(
        root=folder, version=version, libraries="/usr/lib/x86_64-linux-gnu/nvidia/current"
    )


def _alternatives(root: str, package: str) -> None:
    """Let the package's own script make its links, where dpkg's other programs are out of reach."""
    for name in ("usr/local/sbin", "var/lib/dpkg/alternatives", "var/log"):
        os.makedirs(os.path.join(root, name), exist_ok=True)
    stand_ins = [f"{root}/usr/local/sbin/{n}" for n in ("dpkg-trigger", "dpkg-maintscript-helper")]
    for name in stand_ins:
        os.symlink("/usr/bin/true", name)
    with tempfile.TemporaryDirectory(dir=root) as control:
        subprocess.run(["/usr/bin/dpkg-deb", "--control", package, control], check=True)
        script = f"/{os.path.basename(control)}/postinst"
        subprocess.run(
            ["/usr/sbin/chroot", root, "/bin/sh", script, "triggered"],
            env={"PATH": "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"},
            stdout=subprocess.DEVNULL,
            check=True,
        )
    for name in stand_ins:
        os.unlink(name)


def _stub(root: str, script: str) -> None:
    """Put the stub in place of every real libnvidia-ml."""
    found = glob.glob(f"{root}/usr/lib/x86_64-linux-gnu/nvidia/current/libnvidia-ml.so.*.*")
    for name in found:
        os.unlink(name)
        nvml_stub(name, script)


def nvml_stub(library: str, script: str) -> None:
    """Compile the NVML stub to this file, with its script beside it."""
    soname = "-Wl,-soname,libnvidia-ml.so.1"
    roots.compile_c(STUB, library, "-shared", "-fPIC", soname)
    with open(f"{library}.script", "w", encoding="utf-8") as stream:
        stream.write(script)


def device_nodes(dev_root: str) -> None:
    """Make the nodes of two GPUs below `dev_root`: outside the checkout, where copies read them."""
    os.makedirs(f"{dev_root}/dev")
    for name, major, minor in NODES:
        path = os.path.join(dev_root, "dev", name)
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(major, minor))
        os.chmod(path, 0o666)


def _proc(root: str, version: str) -> None:
    """Lay out what the kernel module shows in /proc/driver/nvidia."""
    os.makedirs(f"{root}/proc/driver/nvidia", exist_ok=True)
    with open(f"{root}/proc/driver/nvidia/version", "w", encoding="utf-8") as stream:
        stream.write(f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {version}  Release Build\n")
    with open(f"{root}/proc/driver/nvidia/params", "w", encoding="utf-8") as stream:
        stream.write(
            "ModifyDeviceFiles: 1\nDeviceFileUID: 0\nDeviceFileGID: 0\nDeviceFileMode: 438\n"
        )
