# SPDX-License-Identifier: Apache-2.0
"""`python -m gpubind_plugin` is `gpubind-device-plugin`."""

from gpubind_plugin.main import main

main()
