# SPDX-License-Identifier: Apache-2.0
"""Pure functions from a CDI spec to the same spec in another form."""
