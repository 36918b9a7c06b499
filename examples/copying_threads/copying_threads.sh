#!/usr/bin/env bash
# Copying a thread with curl and jq.
set -euo pipefail
url=${1:-http://127.0.0.1:2024}
command -v jq >/dev/null || { echo "This needs jq (apt-get install jq, brew install jq)." >&2; exit 1; }

post() { curl --silent --show-error --fail-with-body --request POST "$url$1" --header 'Content-Type: application/json' --data "$2"; }

# The states without the id of the thread they belong to: the one thing in which a copy differs.
history() {
  curl --silent --show-error --fail-with-body "$url/threads/$1/history?limit=100" |
    jq --sort-keys 'map(del(.metadata.thread_id, .checkpoint.thread_id, .parent_checkpoint.thread_id))'
}

# Create a thread and run the graph on it.
thread=$(post /threads '{}' | jq --raw-output .thread_id)
post "/threads/$thread/runs/wait" '{"assistant_id": "agent", "input": {"messages": [{"role": "user", "content": "hello"}]}}' >/dev/null

# Copy it.
copied=$(post "/threads/$thread/copy" '{}' | jq --raw-output .thread_id)

# Compare the histories.
[ "$(history "$thread" | jq length)" -gt 0 ] || { echo "The run left no history." >&2; exit 1; }
if diff <(history "$thread") <(history "$copied"); then
  echo "The histories are the same."
else
  exit 1
fi
