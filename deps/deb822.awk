# SPDX-License-Identifier: MIT
# deb822.awk - lines "deb-src [options] URI suite components" for the paragraphs of a *.sources file that serve "deb".
# folder: where a key that is written into the file itself is put.

function flush_paragraph(    u, s, uris, suites, n, m, i, j) {
    if (field["types"] ~ /(^| )deb( |$)/ && tolower(field["enabled"]) !~ /^(no|false|0)$/) {
        n = split(field["uris"], uris, " ")
        m = split(field["suites"], suites, " ")
        for (i = 1; i <= n; i++) {
            for (j = 1; j <= m; j++) {
                print "deb-src " options() uris[i] " " suites[j] " " field["components"]
            }
        }
    }
    delete field
    name = ""
}

function options(    key) {
    key = field["signed-by"]
    if (key == "") {
        return ""
    }
    if (key ~ /BEGIN PGP/) {
        # A blank line of the key is written as a single point there.
        gsub(/\n\./, "\n", key)
        sub(/^\n/, "", key)
        file = folder "/key" ++keys ".asc"
        print key > file
        close(file)
        key = file
    }
    gsub(/[ \n]+/, ",", key)
    return "[signed-by=" key "] "
}

/^#/ { next }
/^[ \t]*$/ { flush_paragraph(); next }
/^[ \t]/ {
    line = $0
    sub(/^[ \t]+/, "", line)
    field[name] = field[name] (name == "signed-by" ? "\n" : " ") line
    next
}
{
    name = tolower($0)
    sub(/:.*/, "", name)
    line = $0
    sub(/^[^:]*:[ \t]*/, "", line)
    field[name] = line
}
END { flush_paragraph() }
