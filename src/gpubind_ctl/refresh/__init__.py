# SPDX-License-Identifier: Apache-2.0
"""Keeping a written spec true: looked at once (`once`), after a wait (`waiting`), or for ever."""
