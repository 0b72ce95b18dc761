# SPDX-License-Identifier: Apache-2.0
# What is done on the host, for deb and rpm alike.
leaving() {
    /usr/share/gpubind/leave nvidia-container-runtime nvidia-container-runtime.cdi nvidia-container-runtime.legacy \
        nvidia-container-runtime-hook nvidia-container-toolkit
}
