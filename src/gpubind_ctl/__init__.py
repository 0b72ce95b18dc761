# SPDX-License-Identifier: Apache-2.0
"""The tools for operators: the `gpubind` command."""
