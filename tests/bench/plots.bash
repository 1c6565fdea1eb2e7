# SPDX-License-Identifier: MIT
# plots.bash - SVG pictures of what the groups left in $work/NAME.data, by gnuplot. A picture whose data is not there is
# not made.

# picture FILE TITLE XLABEL YLABEL <script: draws one; the background is white, so that it reads on dark pages too.
picture() {
    {
        cat <<END
set terminal svg size 760,440 font "sans-serif,13" background rgb "white"
set output "$1"
set title "$2"
set xlabel "$3"
set ylabel "$4"
set label 1 "$stamp" at screen 0.99,0.015 right font ",9" textcolor rgb "#666666" noenhanced
set bmargin 5
set grid lc rgb "#dddddd"
set key outside top center horizontal
set style line 1 lc rgb "#0b6e4f" lw 2.5 pt 7 ps 0.7
set style line 2 lc rgb "#c0392b" lw 2.5 pt 5 ps 0.7
set style line 3 lc rgb "#0b6e4f" lw 2.5 pt 7 ps 0.7 dt 2
set style line 4 lc rgb "#c0392b" lw 2.5 pt 5 ps 0.7 dt 2
set style line 5 lc rgb "#888888" lw 1.5 dt 3
END
        cat
    } | gnuplot || say "the picture $1 was not made"
}

# by_depth FILE TITLE YLABEL COLUMN-OF-BITKV COLUMN-OF-REDIS
by_depth() {
    picture "$1" "$2" "requests in a pipeline" "$3" <<END
set logscale x 2
set xtics (1, 4, 16, 64)
set xrange [0.8:80]
set yrange [0:*]
set format y "%.0s%c"
plot "< grep ^GET $work/depth.data" using 2:$4 with linespoints ls 1 title "bitkv GET", \
     "< grep ^GET $work/depth.data" using 2:$5 with linespoints ls 2 title "Redis GET", \
     "< grep ^SET $work/depth.data" using 2:$4 with linespoints ls 3 title "bitkv SET", \
     "< grep ^SET $work/depth.data" using 2:$5 with linespoints ls 4 title "Redis SET"
END
}

# plot_latency FILE: the columns of one line each become points over the percentiles.
plot_latency() {
    local name
    for name in bitkvGET redisGET bitkvSET redisSET; do
        awk -v name=$name '$1 == name { split("0.5 0.9 0.95 0.99 0.995 0.999", p, " ")
            for (i = 1; i <= 6; i++) print -log(1 - p[i]) / log(10), $(i + 1) / 1000 }' "$work/latency.data" >"$work/latency.$name"
    done
    picture "$1" "Latency at half of the full rate, 64-byte values, no pipeline" percentile "ms from when it was due" <<END
set logscale y
set format y "%g"
set xtics ("50" 0.30103, "90" 1, "95" 1.30103, "99" 2, "99.5" 2.30103, "99.9" 3)
set xrange [0.2:3.1]
plot "$work/latency.bitkvGET" with linespoints ls 1 title "bitkv GET", \
     "$work/latency.redisGET" with linespoints ls 2 title "Redis GET", \
     "$work/latency.bitkvSET" with linespoints ls 3 title "bitkv SET", \
     "$work/latency.redisSET" with linespoints ls 4 title "Redis SET"
END
}

plot_memory() {
    picture "$1" "Memory a key: keys of 16 bytes, values of 8" "keys, millions" "bytes of resident set a key" <<END
set logscale x
set xtics (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
set xrange [*:*] noextend
set yrange [0:*]
plot "$work/memory.data" using (\$1 / 1e6):3 with linespoints ls 2 title "Redis (values in memory)", \
     "$work/memory.data" using (\$1 / 1e6):2 with linespoints ls 1 title "bitkv (values on disk)"
END
}

plot_start() {
    picture "$1" "Start with $KEYS_MANY keys, until the first PONG" "" "seconds" <<END
set style fill solid
set boxwidth 0.5
set yrange [0:*]
set xrange [-0.6:2.6]
unset key
plot "$work/start.data" using 0:(\$2 / 1000):(\$0 == 2 ? 0xc0392b : 0x0b6e4f):xtic(1) with boxes lc rgb variable, \
     "" using 0:(\$2 / 1000):(sprintf("%.2f s", \$2 / 1000)) with labels offset 0,0.7 notitle
END
}

plot_space() {
    picture "$1" "Disk space while values of 1 KiB are overwritten, uniformly" "seconds" "GB on disk" <<END
set yrange [0:*]
plot "$work/space_bitkv.data" with lines ls 1 title "bitkv, merging", \
     "$work/space_redis.data" with lines ls 2 title "Redis, rewriting", \
     "$work/space_live.data" with lines ls 5 title "keys and values"
END
}

plot_waits() {
    picture "$1" "Latency while values of 1 KiB are overwritten, same load" "seconds" "p99 of a second's SETs, ms" <<END
set logscale y
set format y "%g"
plot "$work/waits_bitkv.data" with lines ls 1 title "bitkv, merging", \
     "$work/waits_redis.data" with lines ls 2 title "Redis, rewriting"
END
}

# plots DIRECTORY STAMP: all that there is data for; older ones go.
plots() {
    local to=$1 stamp=$2
    if ! command -v gnuplot >/dev/null; then
        say "no gnuplot, no pictures (Debian: gnuplot-nox)"
        return
    fi
    mkdir -p "$to"
    rm -f "$to"/*.svg
    if [ -s "$work/depth.data" ]; then
        by_depth "$to/throughput.svg" "Throughput, 50 clients, 64-byte values" "requests a second" 3 4
        by_depth "$to/cpu.svg" "Processor time of the server, 50 clients, 64-byte values" "us a request" 5 6
    fi
    [ ! -s "$work/latency.data" ] || plot_latency "$to/latency.svg"
    [ ! -s "$work/memory.data" ] || plot_memory "$to/memory.svg"
    [ ! -s "$work/start.data" ] || plot_start "$to/start.svg"
    [ ! -s "$work/space_redis.data" ] || plot_space "$to/space.svg"
    [ ! -s "$work/waits_redis.data" ] || plot_waits "$to/waits.svg"
}
