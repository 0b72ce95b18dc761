# SPDX-License-Identifier: Apache-2.0
"""The core: what is loaded at container start. Standard library only, and little of that."""

VERSION = "0.1.0"
