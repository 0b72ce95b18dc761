# SPDX-License-Identifier: Apache-2.0
"""What is in the spec directories, and whether it is true: the rooms behind `cdi check`."""
