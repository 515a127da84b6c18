#!/bin/sh
# Checks a changed config in a CI job, and prints what it changes: check-config.sh DEPLOYED CHANGED
# Needs latentwatch on the PATH, and neither a broker nor a model. Fails if the changed config is wrong.
set -eu
latentwatch check --config-only --config "$2"
latentwatch diff-config "$1" "$2" || [ $? -eq 1 ]
