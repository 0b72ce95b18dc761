# SPDX-License-Identifier: Apache-2.0
# What is done on the host, for deb and rpm alike.
units="gpubind-device-nodes.service gpubind-cdi-refresh.service"

running() {
    [ -d /run/systemd/system ]
}

# Debian's helpers remember what the operator disabled, and heed policy-rc.d.
helper() {
    if [ -x "/usr/bin/deb-systemd-$1" ]; then "/usr/bin/deb-systemd-$@" >/dev/null || true; fi
}

installed() {
    /usr/share/gpubind/activate
    for unit in $units; do
        helper helper unmask "$unit"
        if deb-systemd-helper --quiet was-enabled "$unit" 2>/dev/null; then
            helper helper enable "$unit"
        else
            helper helper update-state "$unit"
        fi
    done
    if running; then
        systemctl --system daemon-reload || true
        udevadm control --reload || true
        helper invoke restart $units
    fi
}

leaving() {
    /usr/share/gpubind/leave --check gpubind-runtime gpubind-runtime-hook
    if running; then helper invoke stop $units; fi
}

left() {
    if [ -x /usr/share/gpubind/activate ]; then /usr/share/gpubind/activate; fi
    if running; then systemctl --system daemon-reload || true; fi
}

forgotten() {
    helper helper purge $units
    rm -rf /etc/gpubind
}
