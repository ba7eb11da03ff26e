#!/usr/bin/env bash
# Simulates months of monitoring with faults around the real engine and fails when a bar is missed: false incidents,
# missed outages, slow detection. A whole run (no --scenario, no --seed) leaves its tables in deploy/reports.
#
#   tests/simulate.sh                                       30 days × 1,000 monitors × 20 seeds per scenario
#   tests/simulate.sh --days 3 --monitors 100 --seeds 2     a smaller one
#   tests/simulate.sh --scenario lying --seed 4 --monitor 7   what happened to one monitor, as the script of a timeline
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --locked --release --package simulate
case " $* " in
    *" --scenario"* | *" --seed "* | *" --seed="* | *" --help "*)
        exec target/release/simulate "$@"
        ;;
esac
report=deploy/reports/simulation-$(date +%F).md
target/release/simulate "$@" | tee "$report.new"
mv "$report.new" "$report"
