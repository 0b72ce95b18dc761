# SPDX-License-Identifier: Apache-2.0
"""The OCI runtime's command line and the container's config.json."""
