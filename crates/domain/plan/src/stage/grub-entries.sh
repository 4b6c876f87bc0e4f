#!/bin/sh
# Says the boot loader's entries in GRUB's words, which starts this disk under a BIOS; the newest kernel comes first.
# A plugin of kernel-install(8), after those that write the entries.
set -eu

case "${1-}" in
    add | remove) ;;
    *) exit 0 ;;
esac
boot=@ESP@
[ -d "$boot/grub" ] || exit 0

# VERSION FILE, one line an entry.
versions() {
    for entry in "$boot"/loader/entries/*.conf; do
        [ -f "$entry" ] || continue
        version=$(sed -n 's/^version[[:space:]]\{1,\}//p' "$entry" | head -n 1)
        printf '%s %s\n' "${version:-0}" "$entry"
    done
}

# One entry on the input becomes GRUB's, called by the path of its file. A word of the kernel's command line may have spaces between
# double quotes.
translated() {
    awk -v file="$1" '
        function quoted(text) { gsub(/\047/, "\047\\\047\047", text); return "\047" text "\047" }
        function words(text,    at, c, open, word, out) {
            for (at = 1; at <= length(text) + 1; at++) {
                c = substr(text, at, 1)
                if (c == "\"") open = !open
                else if (c != "" && (open || c !~ /[ \t]/)) word = word c
                else if (word != "") { out = out " " quoted(word); word = "" }
            }
            return out
        }
        { key = $1; value = $0; sub(/^[ \t]*[^ \t]+[ \t]*/, "", value); sub(/[ \t\r]+$/, "", value) }
        key == "title" { title = value }
        key == "version" { version = value }
        key == "linux" { kernel = value }
        key == "initrd" { initrd = initrd " " quoted(value) }
        key == "options" { options = options " " value }
        END {
            if (kernel == "") exit
            printf "menuentry %s --id %s {\n", quoted(title " (" version ")"), quoted(file)
            printf "    linux %s%s\n", quoted(kernel), words(options)
            if (initrd != "") printf "    initrd%s\n", initrd
            printf "}\nentry %s\n", quoted(file)
        }
    '
}

new=$boot/grub/entries.cfg.new
versions | LC_ALL=C sort -rV | while read -r _ entry; do
    translated "loader/entries/${entry##*/}" <"$entry"
done >"$new"
[ -s "$new" ] || echo 'echo "There is no kernel to start."' >"$new"
sync "$new"
mv -f "$new" "$boot/grub/entries.cfg"
