mkdir -p "${R}"
echo "${OS}" > "${ETC}/early"
install_packages mc
