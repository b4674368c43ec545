#!/bin/sh
# Runs inside the tree after the packages are in: a prepared mail host is installed, not configured.
set -eu
