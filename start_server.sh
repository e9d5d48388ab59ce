#!/usr/bin/env bash
# Builds what is not up to date and serves. Settings: flags, the environment, or .env (see .env.example).
exec "$(dirname "${BASH_SOURCE[0]}")/dev" serve "$@"
