#!/bin/sh
# Gives the last partition of the root's disk what the medium has behind it; the filesystem grows when it is mounted.
set -eu
root=$(findmnt --noheadings --nofsroot --output SOURCE /)
disk=$(basename "$(readlink -f "/sys/class/block/${root##*/}/..")")
number=$(cat "/sys/class/block/$disk"/*/partition | sort -n | tail -n 1)
part=$(grep -lx "$number" "/sys/class/block/$disk"/*/partition)
part=${part%/partition}
start=$(cat "$part/start")
end=$(cat "/sys/class/block/$disk/size")
# An MBR counts sectors in 32 bits.
[ "$end" -le 4294965248 ] || end=4294965248
size=$(((end - start) / 2048 * 2048))
# Less than a mebibyte is how images end.
[ "$((size - $(cat "$part/size")))" -ge 2048 ] || exit 0
echo ", $size" | sfdisk --lock --no-reread --no-tell-kernel --partno "$number" "/dev/$disk"
# An open partition is resized. One that nobody has open, partx would take away and bring back, and with it whatever waits to
# be mounted.
partx --update --nr "$number" "/dev/$disk" 3<"/dev/${part##*/}"
