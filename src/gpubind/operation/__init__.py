# SPDX-License-Identifier: Apache-2.0
"""Operations on a container's root that only some containers need, each loaded when it is.

Every module has one class: data that prints itself, `writes()` for the names it changes, `words()`
and `parse()` for the hook's command line, and `do()`, which acts on a root's descriptors.
"""
