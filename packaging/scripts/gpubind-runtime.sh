# SPDX-License-Identifier: Apache-2.0
# What is done on the host, for deb and rpm alike.
installed() {
    /usr/share/gpubind/activate
}
leaving() {
    /usr/share/gpubind/leave gpubind-runtime gpubind-runtime-hook
}
left() {
    rm -rf /usr/lib/gpubind /run/gpubind
    rmdir --ignore-fail-on-non-empty /run/cdi 2>/dev/null || true
}
forgotten() {
    rm -rf /var/lib/gpubind
}
