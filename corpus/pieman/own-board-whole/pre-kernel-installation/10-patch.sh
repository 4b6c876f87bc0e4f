set -e

check_if_variable_is_set R SOURCE_DIR

install_packages patch
cp "${SOURCE_DIR}"/fix.patch "${R}"
chroot_exec_sh "patch -p0 < fix.patch"
rm "${R}"/fix.patch
purge_packages patch
