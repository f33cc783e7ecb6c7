# The fenced blocks of a Markdown page, one file each: awk -v out=FOLDER -f blocks.awk PAGE.
# FOLDER/NNN has "LINE<tab>INFO" in its first line, then the text. `<!-- test HOST` ... `-->` is a block, too, which readers
# do not see: INFO is "hidden HOST". On stdout: what must not be there, as "LINE: what".
function begin(info) { inside = 1; file = sprintf("%s/%03d", out, ++count); printf "%d\t%s\n", NR, info > file }
function end_block() { inside = 0; hidden = 0; close(file) }
inside && !hidden && /^ *```[ ]*$/ { end_block(); blank = 0; next }
inside && hidden && /^-->$/ { end_block(); blank = 0; next }
inside { line = $0; for (i = 0; i < indent && substr(line, 1, 1) == " "; i++) line = substr(line, 2); print line > file; next }
/^ *```/ {
    match($0, /^ */); indent = RLENGTH
    info = substr($0, indent + 4); sub(/ +$/, "", info)
    if (info == "") print NR ": a block without a language tag"
    begin(info); blank = 0; next
}
/^<!-- test/ {
    indent = 0
    info = $0; sub(/^<!-- test */, "", info)
    if (info ~ /-->$/) { print NR ": a hidden block takes lines of its own"; next }
    hidden = 1; begin("hidden " info); next
}
# What Markdown takes for code: four blanks after an empty line; in a list, which itself goes on with three, seven.
/^    / && blank && (!list || /^       /) { print NR ": an indented block; fence it and give it a language tag" }
/^[ ]*$/ { blank = 1; next }
{ if ($0 ~ /^[^ ]/) list = ($0 ~ /^([-*]|[0-9]+\.) /); blank = 0 }
END { if (inside) print NR ": a block does not end" }
