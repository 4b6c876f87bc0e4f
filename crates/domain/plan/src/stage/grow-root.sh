#!/bin/sh
# Gives the root partition what the medium has behind it; the filesystem grows when it is mounted.
set -eu
root=$(findmnt --noheadings --output SOURCE /)
name=${root##*/}
number=$(cat "/sys/class/block/$name/partition")
disk=$(basename "$(readlink -f "/sys/class/block/$name/..")")
end=$(($(cat "/sys/class/block/$name/start") + $(cat "/sys/class/block/$name/size")))
free=$(($(cat "/sys/class/block/$disk/size") - end))
# Less than a mebibyte is how images end.
[ "$free" -ge 2048 ] || exit 0
echo ', +' | sfdisk --no-reread --no-tell-kernel --partno "$number" "/dev/$disk"
partx --update --nr "$number" "/dev/$disk"
