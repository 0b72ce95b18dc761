# SPDX-License-Identifier: Apache-2.0
"""One module for each kind of device a spec can describe; `table` knows them all."""
