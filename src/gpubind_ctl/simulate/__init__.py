# SPDX-License-Identifier: Apache-2.0
"""A simulated GPU node: a folder that stands in for a machine's `/` as driver root.

profiles/*.json     which machine: driver version, GPUs, groups of files
driver.json         which files a driver consists of, by group
profile             reads both into values
driver, kernel      plan a profile's files: what a package installs, what a kernel shows
layout              checks the folder and writes the plan
play                plays a node's script: the plan as it is after each act
elf                 makes the libraries and programs
"""
