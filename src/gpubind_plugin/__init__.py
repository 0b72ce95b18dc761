# SPDX-License-Identifier: Apache-2.0
"""The Kubernetes device plugin: serves a node's GPUs to the kubelet. Extra: gpubind[kubernetes]."""
