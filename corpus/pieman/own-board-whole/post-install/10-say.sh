info "only ${PIECES[0]} here"; is_debian_based || exit 1
