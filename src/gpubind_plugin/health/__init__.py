# SPDX-License-Identifier: Apache-2.0
"""Which GPUs are well: what is told of them, what becomes of them, when they are given out again.

state    what one device is, and what each event and each look makes of it; pure
policy   which action an Xid has by configuration, policy file and table; pure
board    the states of all devices of a node, for several threads
watch    who listens to the driver and tells the board
"""
