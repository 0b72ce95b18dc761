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
}
forgotten() {
    rm -rf /var/lib/gpubind
}
