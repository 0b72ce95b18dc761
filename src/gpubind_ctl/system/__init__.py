# SPDX-License-Identifier: Apache-2.0
"""Device nodes and their links on the host: which there should be (`devices`), and making them."""
