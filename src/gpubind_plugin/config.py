# SPDX-License-Identifier: Apache-2.0
"""What the device plugin was told to do, as values: defaults are those of the field's plugin.

    Config
     +-- Resources(gpus, mig, include, exclude)    which device is offered under which name
     +-- Sharing(time_slicing, mps) of Shares      which devices are offered several times
     +-- Imex, Health

Lists, texts and numbers that say nothing are empty, "" and 0. `gpubind_plugin.options` makes these
values from flags, environment and file, and checks them.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpubind import paths

ENVVAR = "envvar"
VOLUME_MOUNTS = "volume-mounts"
CDI_ANNOTATIONS = "cdi-annotations"
CDI_CRI = "cdi-cri"
CDI_STRATEGIES = (CDI_ANNOTATIONS, CDI_CRI)
TIME_SLICING = "time-slicing"
MPS = "mps"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Which devices are meant: those that fit all that is said.

    `pattern` is of a GPU's product name or a MIG device's profile, `pci` and `uuid` are patterns
    too (`*` stands for anything; a MIG device has its GPU's address, and its own UUID or its
    GPU's). `memory` holds comparisons of bytes, such as `(">=", 1 << 34)`.
    """

    pattern: str = "*"
    pci: str = "*"
    uuid: str = "*"
    memory: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """The resource name, such as `nvidia.com/gpu`, that devices are offered under."""

    name: str
    selector: Selector = Selector()


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Which devices get which names: the first entry that fits. Empty lists: the field's names.

    A device is left out that `include`, where it has entries, does not name, or `exclude` names.
    """

    gpus: tuple[Named, ...] = ()
    mig: tuple[Named, ...] = ()
    include: tuple[Selector, ...] = ()
    exclude: tuple[Selector, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """That devices of the resource `name` are offered `replicas` times each, under `rename`.

    `devices` are indices (`0`, `0:1`) or UUIDs; where empty, the first `count`; where that is 0,
    all that no other entry takes.
    """

    name: str
    replicas: int
    rename: str = ""
    devices: tuple[str, ...] = ()
    count: int = 0

    @property
    def offered(self) -> str:
        """The name the replicas are offered under."""
        return self.rename or self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """One way of sharing: its entries, and whether a request for two replicas is refused."""

    resources: tuple[Shared, ...] = ()
    rename_by_default: bool = False
    fail_requests_greater_than_one: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """How devices are shared. MPS, where it has entries, wins over time slicing."""

    time_slicing: Shares = Shares()
    mps: Shares = Shares()

    @property
    def strategy(self) -> str:
        """`mps`, `time-slicing` or `none`."""
        if self.mps.resources:
            return MPS
        return TIME_SLICING if self.time_slicing.resources else "none"

    @property
    def shares(self) -> Shares:
        """The entries that hold."""
        return self.mps if self.mps.resources else self.time_slicing


@dataclass(frozen=True, slots=True, kw_only=True)
class Imex:
    """The IMEX channels every container gets, and whether their absence is an error."""

    channel_ids: tuple[int, ...] = ()
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What DP_DISABLE_HEALTHCHECKS and DP_ENABLE_HEALTHCHECKS say; enabling wins."""

    disable_all: bool = False
    disabled: frozenset[int] = frozenset()
    enable_all: bool = False
    enabled: frozenset[int] = frozenset()
    policy_file: str = ""

    @property
    def off(self) -> bool:
        """Whether no event counts at all, so that there is nothing to watch."""
        return self.disable_all and not self.enable_all and not self.enabled

    def says(self, xid: int) -> bool | None:
        """Tell whether an Xid counts (True) or is ignored (False); None leaves it to the policy."""
        if self.enable_all or xid in self.enabled:
            return True
        return False if self.disable_all or xid in self.disabled else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All of it. `driver_root` and `dev_root` are the host's, `container_driver_root` is ours."""

    mig_strategy: str = "none"
    fail_on_init_error: bool = True
    mps_root: str = ""
    driver_root: str = "/"
    dev_root: str = ""  # the driver root
    gdrcopy_enabled: bool = False
    gds_enabled: bool = False
    mofed_enabled: bool = False
    device_discovery_strategy: str = "auto"
    pass_device_specs: bool = False
    device_list_strategy: tuple[str, ...] = (ENVVAR,)
    device_id_strategy: str = "uuid"
    cdi_annotation_prefix: str = "cdi.k8s.io/"
    hook_path: str = paths.HOOK
    container_driver_root: str = "/driver-root"
    shared_devices_allocation_policy: str = "distributed"
    shared_devices_allocation_strict: bool = False
    aligned_allocation_strict: bool = False
    kubelet_socket: str = "/var/lib/kubelet/device-plugins/kubelet.sock"
    config_file: str = ""
    cdi_spec_dir: str = "/var/run/cdi"
    cdi_feature_flags: tuple[str, ...] = ()
    cdi_disable_hooks: tuple[str, ...] = ()
    metrics_address: str = ""  # none: nothing is served
    resources: Resources = Resources()
    sharing: Sharing = Sharing()
    imex: Imex = Imex()
    health: Health = Health()

    @property
    def host_dev_root(self) -> str:
        """The host folder whose `dev` holds the device nodes."""
        return self.dev_root or self.driver_root

    @property
    def cdi(self) -> bool:
        """Whether a container is given CDI names, by whichever way."""
        return any(way in CDI_STRATEGIES for way in self.device_list_strategy)
