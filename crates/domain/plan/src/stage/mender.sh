# U-Boot ($1) as the program that the firmware starts ($2), and the board's trees beside it ($3): the firmware tells U-Boot there
# what it has found out. On arm64 trees are in a folder.
cp "$1" "$2"
for tree in /usr/lib/linux-image-*/broadcom/bcm2[78]*.dtb /usr/lib/linux-image-*/bcm2[78]*.dtb; do
    if [ -e "$tree" ]; then cp "$tree" "$3/"; fi
done
# The link to the initrd is missing where the kernel's package was configured before there was one.
kernel=$(readlink /vmlinuz)
ln -sfn "boot/initrd.img-${kernel#boot/vmlinuz-}" /initrd.img
