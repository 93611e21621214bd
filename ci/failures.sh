#!/usr/bin/env bash
# Lets each system call of a pool's processes fail once, and for a while: ci/failures.sh [--full] [--role ROLE] [--call NAME]
# Prints how many cases (process, call, n, error) it has run and how many failed. With --full each of the first ten calls fails in each way it can: some minutes more.
set -euo pipefail
cd "$(dirname "$0")/.."

depth=--usual
others=()
while [ $# -gt 0 ]; do
  case $1 in
    --full) depth=--full; shift ;;
    --role | --call) others+=("$1" "${2:?$1 needs a name}"); shift 2 ;;
    --help) sed -n '2,3s/^# //p' "ci/$(basename "$0")"; exit 0 ;;
    *) echo "failures.sh: unknown option $1 (see --help)" >&2; exit 2 ;;
  esac
done

cargo test --quiet --test failures -- "$depth" "${others[@]}"
# With workers that are executed, which shares what follows their start.
cargo test --quiet --test failures -- --execute "${others[@]}"
