# SPDX-License-Identifier: Apache-2.0
"""NVIDIA's Multi-Process Service for shared GPUs: one control daemon per resource.

plan       which resources get a daemon, with which limits; pure
control    one daemon: how it is started, asked and stopped
keeping    the daemons of a node: started, restarted, stopped by signals
shm        the shared memory they and their clients use
readiness  whether a resource's daemon answers, for the device plugin
command    the command line
"""
