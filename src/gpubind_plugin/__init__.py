# SPDX-License-Identifier: Apache-2.0
"""The room of the Kubernetes device plugin: empty until there is one."""
