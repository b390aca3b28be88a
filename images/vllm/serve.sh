#!/bin/sh
# Start the OpenAI server. Where the image carries vLLM's findings about model classes, they go into its cache first: without
# them every start spends seconds in a second interpreter to find them out again. A cache that cannot be written is no error.
set -eu
prepared=/opt/vllm/share/vllm-cache
if [ -d "$prepared" ] && mkdir -p "$VLLM_CACHE_ROOT" 2>/dev/null; then
    cp -R "$prepared/." "$VLLM_CACHE_ROOT/" 2>/dev/null || true
fi
exec python3 -m vllm.entrypoints.openai.api_server "$@"
