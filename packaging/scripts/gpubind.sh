# SPDX-License-Identifier: Apache-2.0
# What is done on the host, for deb and rpm alike.
units="gpubind-device-nodes.service gpubind-cdi-refresh.service"

running() {
    [ -d /run/systemd/system ]
}

# Debian's helpers remember what the operator disabled, and heed policy-rc.d; they serve dpkg alone.
helper() {
    if [ -n "${DPKG_MAINTSCRIPT_NAME:-}" ] && [ -x "/usr/bin/deb-systemd-$1" ]; then
        "/usr/bin/deb-systemd-$@" >/dev/null
    fi
}

# Elsewhere systemd's own command does it, and a preset says what is enabled.
without_dpkg() {
    if [ -z "${DPKG_MAINTSCRIPT_NAME:-}" ] && [ -x /usr/bin/systemctl ]; then
        systemctl --no-reload "$@" $units || true
    fi
}

installed() {
    /usr/share/gpubind/activate
    if [ "$1" = 1 ]; then without_dpkg preset; fi  # rpm: there is one of us now, and was none
    for unit in $units; do
        helper helper unmask "$unit"
        if helper helper --quiet was-enabled "$unit"; then
            helper helper enable "$unit"
        else
            helper helper update-state "$unit"
        fi
    done
    if running; then
        systemctl --system daemon-reload || true
        udevadm control --reload || true
        helper invoke restart $units || true
        without_dpkg restart
    fi
}

leaving() {
    /usr/share/gpubind/leave --check gpubind-runtime gpubind-runtime-hook
    if running; then
        helper invoke stop $units || true
        without_dpkg disable --now
    fi
}

left() {
    if [ -x /usr/share/gpubind/activate ]; then /usr/share/gpubind/activate; fi
    if running; then systemctl --system daemon-reload || true; fi
}

purged() {
    helper helper purge $units
    rm -rf /etc/gpubind
}
