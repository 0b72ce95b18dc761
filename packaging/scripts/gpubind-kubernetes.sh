# SPDX-License-Identifier: Apache-2.0
# What is done on the host, for deb and rpm alike.
installed() {
    if [ -x /usr/share/gpubind/activate ]; then /usr/share/gpubind/activate; fi
}
left() {
    if [ -x /usr/share/gpubind/activate ]; then /usr/share/gpubind/activate; fi
}
