#!/usr/bin/env bash
# The guide's check as it was first printed: only `metadata.thread_id` is left out.
url=$1

thread=$(curl --silent --request POST --url "$url/threads" --header 'Content-Type: application/json' --data '{}' | jq -r .thread_id)
curl --silent --request POST --url "$url/threads/$thread/runs/wait" --header 'Content-Type: application/json' \
  --data '{"assistant_id": "agent", "input": {"messages": [{"role": "user", "content": "hello"}]}}' >/dev/null
copied=$(curl --silent --request POST --url "$url/threads/$thread/copy" --header 'Content-Type: application/json' | jq -r .thread_id)

if diff <(
    curl --silent --request GET --url "$url/threads/$thread/history" | jq -S 'map(del(.metadata.thread_id))'
) <(
    curl --silent --request GET --url "$url/threads/$copied/history" | jq -S 'map(del(.metadata.thread_id))'
) >/dev/null; then
    echo "The histories are the same."
else
    echo "The histories are different."
fi
