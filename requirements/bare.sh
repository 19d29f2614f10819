#!/bin/sh
# The README's two commands as written, in new roots of Debian, as root and as an ordinary user: what a stranger meets.
#
#     requirements/bare.sh [CASE ...]     each one of bookworm-root bookworm-user trixie-root trixie-user; default: all
#
# Root only. A root holds git, make, ca-certificates, python3 and python3-venv, trusts the certificates that this machine
# trusts and asks the same name servers. It is made once per release, in $L2SIM_BARE (default
# /var/tmp/l2sim-bare; $DEBIAN_MIRROR names another source of packages), and copied for every case. The committed tree is what is tested. The last lines are a table.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
place=${L2SIM_BARE:-/var/tmp/l2sim-bare}
[ "$(id -u)" = 0 ] || { echo "test-bare makes roots, which only root can; run it as root" >&2; exit 2; }
command -v debootstrap >/dev/null || { apt-get update -q && apt-get install -yq --no-install-recommends debootstrap; } >/dev/null
mkdir -p "$place"

base() {
    [ -e "$place/$1.done" ] && return
    rm -rf "${place:?}/$1"
    debootstrap --variant=minbase --include=git,make,ca-certificates,python3,python3-venv "$1" "$place/$1" ${DEBIAN_MIRROR:-} \
        >"$place/$1.log" 2>&1 || { tail -n 3 "$place/$1.log" >&2; exit 1; }
    cp /etc/ssl/certs/ca-certificates.crt "$place/$1/etc/ssl/certs/ca-certificates.crt"
    touch "$place/$1.done"
}

# Runs a line in a root as a user of it, with the devices and processes that a real machine has.
inside() {
    unshare --mount --pid --fork --kill-child sh -c '
        mount -t proc proc "$1/proc" && mount --rbind /dev "$1/dev" && mount -t tmpfs tmpfs "$1/tmp" || exit 2
        exec chroot "$1" su - "$2" -c "$3"' sh "$1" "$2" "$3"
}

packages() { chroot "$1" dpkg-query -W -f '${Package}\n' | sort; }

# One case: the commands in a new root, and a line of what came of them. What they print goes to NAME.txt.
try() {
    release=${1%-*} root=$place/$1 log=$place/$1.txt user=root seconds="" code=0
    base "$release"
    rm -rf "$root"
    cp -a "$place/$release" "$root"
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    if [ "${1#*-}" = user ]; then
        user=visitor
        chroot "$root" useradd --create-home --shell /bin/sh "$user"
    fi
    git clone --quiet --bare "file://$here" "$root/srv/l2sim.git"
    packages "$root" >"$place/$1.before"
    inside "$root" "$user" "git config --global --add safe.directory /srv/l2sim.git; git clone -q /srv/l2sim.git" >"$log" 2>&1 || { tail -n 3 "$log" >&2; exit 1; }
    for command in "make run" "make test"; do
        began=$(date +%s)
        echo "\$ $command" >>"$log"
        inside "$root" "$user" "cd l2sim && $command" >>"$log" 2>&1 || code=$?
        seconds="$seconds$command $(($(date +%s) - began)) s, "
        [ "$code" = 0 ] || break
    done
    python=$(chroot "$root" python3 -c 'import platform; print(platform.python_version())')
    added=$(packages "$root" | comm -13 "$place/$1.before" - | tr '\n' ' ')
    counts=$(grep -E '^[0-9]+ (passed|failed).* in ' "$log" | tail -n 1)
    echo "$1 (Python $python): ${seconds}exit $code; ${counts:-no tests ran}"
    echo "    Debian packages added: ${added:-none}"
    grep -E '^(not on this machine|FAILED|ERROR|SKIPPED)' "$log" | sed 's/^/    /' || true
    [ "$code" = 0 ] && rm -rf "$root"
    return "$code"
}

[ $# -gt 0 ] || set -- bookworm-root bookworm-user trixie-root trixie-user
if [ $# = 1 ]; then
    exec 9>"$place/$1.lock"
    flock -n 9 || { echo "$1 is being tried by another process" >&2; exit 2; }
    try "$1"
    exit
fi
failed=0
for case in "$@"; do
    "$0" "$case" || failed=1  # by itself, so that whatever fails on the way ends the case
done
exit "$failed"
