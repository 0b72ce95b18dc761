# SPDX-License-Identifier: Apache-2.0
"""Finding one file in a driver root: where to look, and whether what is there is the right kind."""
