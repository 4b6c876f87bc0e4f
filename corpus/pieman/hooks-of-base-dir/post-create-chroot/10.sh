touch "$R/never"
