#!/bin/sh
# Start the OpenAI server. Where the image carries vLLM's findings about model classes, they go into its cache first: without
# them every start spends seconds in a second interpreter to find them out again. A cache that cannot be written is no error.
#
# This shell stays in front of the engine. As the first process of its container vLLM is deaf to SIGTERM until it has set a
# handler, and while it waits for its core it loses the signal (0.32.0): a pod stopped while it loads would keep its GPU for
# the whole grace period. An engine that does not listen yet has no answer to save, and is killed.
set -eu
trap 'exit 143' TERM

prepared=/opt/vllm/share/vllm-cache
if [ -d "$prepared" ] && mkdir -p "$VLLM_CACHE_ROOT" 2>/dev/null; then
    cp -R "$prepared/." "$VLLM_CACHE_ROOT/" 2>/dev/null || true
fi

port=8000 before= server=vllm.entrypoints.openai.api_server
for word in "$@"; do
    [ "$before" != --port ] || port=$word
    # one of several machines that compute as one: it serves no requests, but the module above would serve with this flag, too
    [ "$word" != --headless ] || server="vllm.entrypoints.cli.main serve"
    before=$word
done

# Where models take turns on one card, this one starts when the card is free (see turn.py). A waiting engine has nothing to save.
if [ -n "${EBBTIDE_TURNS-}" ]; then
    python3 -I -S "${EBBTIDE_TURN_PROGRAM:-/usr/local/bin/turn.py}" "$port" &
    trap 'kill -KILL $! 2>/dev/null; exit 143' TERM INT
    wait $!
    trap 'exit 143' TERM
fi

# Adapters that a call loads while it runs: found by name in the store's folder for them. vLLM looks for such names only with the
# variable that also opens its own paths for loading from anywhere, which the middleware closes again.
if [ -n "${EBBTIDE_ADAPTERS-}" ]; then
    plugins=${EBBTIDE_PLUGINS:-/usr/local/share/ebbtide/plugins}
    export PYTHONPATH="$plugins${PYTHONPATH:+:$PYTHONPATH}" VLLM_ALLOW_RUNTIME_LORA_UPDATING=1
    [ -z "${VLLM_PLUGINS+set}" ] || export VLLM_PLUGINS="$VLLM_PLUGINS,ebbtide_adapters"
    set -- "$@" --middleware ebbtide_adapters.Closed
fi

served=
leave() {
    signalled=yes
    # at a second signal it may have closed its port and still be answering
    if [ -n "$served" ] || python3 -S -c "import socket; socket.create_connection(('127.0.0.1', $port), 2)" 2>/dev/null; then
        served=yes
        kill -TERM "$engine" 2>/dev/null || true
    else
        kill -KILL "$engine" 2>/dev/null || true
    fi
}

python3 -m $server "$@" &
engine=$!
trap leave TERM INT

# a signal ends the wait, not the engine, whose exit status is reported once (127: it was reported already)
status=0 signalled=yes
while [ -n "$signalled" ]; do
    signalled=
    wait "$engine" && ended=0 || ended=$?
    [ "$ended" = 127 ] || status=$ended
done
exit "$status"
