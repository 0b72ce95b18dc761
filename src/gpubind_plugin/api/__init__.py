# SPDX-License-Identifier: Apache-2.0
"""The kubelet's device plugin API v1beta1. Only this folder knows grpc and google.protobuf."""

import os

os.environ.setdefault(
    "GRPC_VERBOSITY", "NONE"
)  # its own lines would stand between those of our log
