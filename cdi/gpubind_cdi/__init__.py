# SPDX-License-Identifier: Apache-2.0
"""Finding a host's GPUs and driver, and writing and reading CDI specs."""
