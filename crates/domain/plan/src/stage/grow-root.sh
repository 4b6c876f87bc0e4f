#!/bin/sh
# Gives the last partition of the root's disk what the medium has behind it; the filesystem grows when it is mounted.
set -eu
root=$(findmnt --noheadings --nofsroot --output SOURCE /)
disk=$(basename "$(readlink -f "/sys/class/block/${root##*/}/..")")
number=$(cat "/sys/class/block/$disk"/*/partition | sort -n | tail -n 1)
part=$(grep -lx "$number" "/sys/class/block/$disk"/*/partition)
part=${part%/partition}
end=$(($(cat "$part/start") + $(cat "$part/size")))
free=$(($(cat "/sys/class/block/$disk/size") - end))
# Less than a mebibyte is how images end.
[ "$free" -ge 2048 ] || exit 0
echo ', +' | sfdisk --no-reread --no-tell-kernel --partno "$number" "/dev/$disk"
partx --update --nr "$number" "/dev/$disk"
