#!/bin/sh
# Make .venv in the project's root with the locked packages and ebbtide itself; the clouds named as arguments get their
# SDKs too (each has a lock), and one that is there stays. `schemas` is no cloud: the packages that tests read the clouds'
# schemas from. Safe to repeat: does nothing when no lock has changed. An interrupted run leaves no stamp and is done again.
set -eu
cd "$(dirname "$0")/.."
known=$(ls locks | sed -n 's/\.txt$//p' | grep -vx dev | tr '\n' ' ')
for cloud in "$@"; do
    case " $known" in
    *" $cloud "*) ;;
    *)
        echo "error: CLOUD is $cloud; allowed: $known(one or several); fix: make setup CLOUD=${known%% *}" >&2
        exit 2
        ;;
    esac
done
stamp=.venv/.ebbtide
clouds=
for cloud in $known; do
    case " $* $(sed -n 2p "$stamp" 2>/dev/null || true) " in *" $cloud "*) clouds="$clouds $cloud" ;; esac
done
locks=locks/dev.txt
for cloud in $clouds; do locks="$locks locks/$cloud.txt"; done
want=$(cat $locks pyproject.toml scripts/setup.sh | sha256sum | cut -d' ' -f1)
if [ -f "$stamp" ] && [ "$(sed -n 1p "$stamp")" = "$want" ] && .venv/bin/python -c 'import pulumi, infra' 2>/dev/null; then
    exit 0
fi

python=${PYTHON:-}
for candidate in python3.13 python3.12 python3.11 python3; do
    [ -n "$python" ] && break
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$candidate; fi
done
if [ -z "$python" ]; then
    echo "error: no Python 3.11 or newer found; fix: install one, or name it: make setup PYTHON=/path/to/python3" >&2
    exit 1
fi
if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    echo "  • python3-venv (system package)"
    if ! { [ "$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv; }; then
        echo "error: this Python cannot make environments; fix: install your system's python3-venv" >&2
        exit 1
    fi
fi

echo "  • Python environment (.venv)"
# The locks are whole, so nothing is resolved (--no-deps): pip looks at newer versions of a package that is asked for with
# an extra before it looks at the pin, and then refuses them for having no hash.
# An environment without its stamp is half made: anew, from pip's cache. While it is worked on it has none.
[ -f "$stamp" ] || rm -rf .venv
[ -x .venv/bin/python ] || "$python" -m venv .venv
rm -f "$stamp"
for lock in $locks; do
    if [ "$lock" = locks/schemas.txt ]; then # tests read these packages as they come
        echo "  • the clouds' schemas"
        rm -rf .venv/schemas
        .venv/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
            --dest .venv/schemas -r "$lock"
        continue
    fi
    # of a cloud's 10,000 files a program reads some hundred: compiled below, and not all of them
    compile=--no-compile
    if [ "$lock" = locks/dev.txt ]; then compile=--compile; else echo "  • $(basename "$lock" .txt) SDK"; fi
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps $compile --require-hashes -r "$lock"
done
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
for cloud in $clouds; do
    [ "$cloud" = schemas ] || env -u PYTHONDONTWRITEBYTECODE .venv/bin/python -c "import components.platforms.$cloud.platform"
done
printf '%s\n%s\n' "$want" "$clouds" > "$stamp"
echo "  ✓ Python environment (.venv)"
