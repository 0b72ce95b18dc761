# SPDX-License-Identifier: Apache-2.0
"""One module per command of `gpubind`; main loads the one that is asked for."""
