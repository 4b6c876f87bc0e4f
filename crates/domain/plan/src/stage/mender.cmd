# Which root starts. Mender's client writes these variables too, by /etc/fw_env.config.
setenv where ${devtype} ${devnum}:1
setenv changed 0
if load ${where} ${ramdisk_addr_r} @FILE@ && env import -c ${ramdisk_addr_r} @LENGTH@ @NAMES@; then
  true
else
  # A write that broke off, say: what was confirmed last is in the copy.
  setenv changed 1
  if load ${where} ${ramdisk_addr_r} @COPY@ && env import -c ${ramdisk_addr_r} @LENGTH@ @NAMES@; then
    echo "kiln: @FILE@ cannot be read, its copy counts"
  else
    echo "kiln: @FILE@ cannot be read, the first root starts"
    setenv mender_boot_part @A@
    setenv mender_boot_part_hex @A@
  fi
  setenv upgrade_available 0
  setenv bootcount 0
fi
# A new root has one start; whoever starts it a second time without its client's word gets the old one back.
if test "${upgrade_available}" = 1; then
  setexpr bootcount ${bootcount} + 1
  if itest ${bootcount} -gt 1; then
    echo "kiln: the new root did not come up, the old one starts"
    setenv upgrade_available 0
    setenv bootcount 0
    if test "${mender_boot_part}" = @A@; then
      setenv mender_boot_part @B@
    else
      setenv mender_boot_part @A@
    fi
    setenv mender_boot_part_hex ${mender_boot_part}
  fi
  setenv changed 1
fi
if test "${changed}" = 1; then
  env export -c -s @LENGTH@ ${ramdisk_addr_r} @NAMES@
  save ${where} ${ramdisk_addr_r} @FILE@ @LENGTH@
fi
# The copy has the last root that started as a confirmed one.
if test "${upgrade_available}" = 0; then
  if load ${where} ${kernel_addr_r} @COPY@ && cmp.b ${ramdisk_addr_r} ${kernel_addr_r} @LENGTH@; then
    true
  else
    save ${where} ${ramdisk_addr_r} @COPY@ @LENGTH@
  fi
fi
if test "${mender_boot_part}" = @A@; then
  setenv root PARTUUID=@ID_A@
else
  setenv root PARTUUID=@ID_B@
fi
# What the firmware says of console and hardware, and of two roots the last one counts.
fdt addr ${fdt_addr}
fdt get value bootargs /chosen bootargs
setenv bootargs "${bootargs} root=${root}"
# A new root whose kernel gives up has had its start.
if test "${upgrade_available}" = 1; then
  setenv bootargs "${bootargs} panic=30"
fi
setenv where ${devtype} ${devnum}:${mender_boot_part_hex}
# Beyond what a kernel takes once it is unpacked, which U-Boot's own place for an initrd is not.
setenv initrd 0x0a000000
if load ${where} ${kernel_addr_r} /vmlinuz && load ${where} ${initrd} /initrd.img; then
  @BOOT@ ${kernel_addr_r} ${initrd}:${filesize} ${fdt_addr}
fi
echo "kiln: partition ${mender_boot_part} does not start"
if test "${upgrade_available}" = 1; then
  reset
fi
