#!/bin/sh
# Prints a Python for l2sim, 3.11 or newer with venv: the one that is named (python3.12, or a path), or else the first
# of the usual names. Where there is none, root gets Debian's by apt-get, and anyone else the line that installs it.
named=${1:-}

candidates() {
    if [ -n "$named" ]; then
        echo "$named"
        ls -d "$HOME"/.pyenv/versions/*/bin/"$named" "$HOME"/.local/share/uv/python/*/bin/"$named" 2>/dev/null
    else
        printf '%s\n' python3 python3.14 python3.13 python3.12 python3.11
    fi
}

find_one() {
    for python in $(candidates); do
        if "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$python"
            return 0
        fi
    done
    return 1
}

fail() {
    echo "$1" >&2
    exit 2
}

find_one && exit 0
packages="python3 python3-venv"
case $named in python3.*) packages="$named $named-venv" ;; esac
if [ -z "$named" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "no Python with venv on this machine; installing with: apt-get install $packages" >&2
    export DEBIAN_FRONTEND=noninteractive
    said=$({ apt-get update -q; apt-get install --yes -q --no-install-recommends $packages; } 2>&1 >/dev/null)
    find_one && exit 0
    echo "$said" | grep '^E:' | tail -n 1 >&2
fi
for python in $(candidates); do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        fail "$python has no venv; on Debian: apt-get install python3-venv, or python3.N-venv for a Python 3.N"
    fi
done
for python in $(candidates); do
    found=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
    fail "l2sim needs Python 3.11 or newer, and $python is $found; name another with: make PYTHON=python3.12 ..."
done
fail "there is no ${named:-python3} on this machine; on Debian: apt-get install $packages"
