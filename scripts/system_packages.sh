#!/bin/sh
# Install the Debian packages that a hidden napari window needs (or those named), where that is missing and permitted.
set -eu
command -v dpkg-query >/dev/null 2>&1 || exit 0 # not Debian: nothing to do here

missing=""
wanted="xvfb xauth libgl1 libegl1 libgl1-mesa-dri libglib2.0-0 libfontconfig1 libdbus-1-3 libxkbcommon-x11-0
    libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 libxcb-shape0"
for package in ${*:-$wanted}; do # newer Debian adds t64 to some names
    dpkg-query -W -f '${Status}\n' "$package" "${package}t64" 2>/dev/null | grep -q "ok installed" ||
        missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    as_root=""
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    as_root="sudo"
else
    echo "These system packages are missing; please run: sudo apt install --no-install-recommends$missing" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq
# shellcheck disable=SC2086 # several words on purpose
$as_root apt-get install -y -qq --no-install-recommends $missing
