echo "$GREETING" > "$ETC/motd"
