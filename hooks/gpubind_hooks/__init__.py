# SPDX-License-Identifier: Apache-2.0
"""Programs a container runtime starts: the CDI hooks. Standard library only."""
