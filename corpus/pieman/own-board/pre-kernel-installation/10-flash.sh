install -d $ETC/flash
