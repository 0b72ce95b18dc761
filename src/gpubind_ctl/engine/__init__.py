# SPDX-License-Identifier: Apache-2.0
"""Container engines' configuration: found, edited as text, proved, written, journalled, undone."""
