# SPDX-License-Identifier: Apache-2.0
"""What a driver root holds that a container needs: one module per kind, each giving a `Found`."""
