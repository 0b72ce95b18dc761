# SPDX-License-Identifier: Apache-2.0
"""`python -m gpubind_ctl` is `gpubind`."""

from gpubind_ctl.main import main

main()
