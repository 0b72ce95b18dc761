# SPDX-License-Identifier: Apache-2.0
"""Node labels: what a scheduler may know of a node's GPUs, in the field's words.

config        the config file, shared with the device plugin -> Sharing and flags
look          one look at the node                           -> Facts
labels, mig   Facts and Sharing                              -> the labels; pure
vgpu          PCI configuration space                        -> the host's driver; pure
service       writes them to a file, again and again
"""
