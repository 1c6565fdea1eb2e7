#!/usr/bin/env tclsh
# SPDX-License-Identifier: MIT
# run.tcl - runs the programs of this folder against a server, restarts it when they ask, and prints "N passed, N failed".
#
#   tclsh tests/clients/run.tcl [PROGRAM...]
#
# B: the build directory (default build): hiredis.c was compiled there, clients/ in it holds the Node libraries, and the
# Go program is compiled into it. CLIENTS_SERVER: another server than debug/bitkv-server. CLIENTS_ALL=1: a library that
# is missing is a failure; else its program is skipped, and said to be.

set here [file dirname [file normalize [info script]]]
source [file join $here .. .. tcl-tests lib.tcl]
source [file join $here judge.tcl]
set root [file normalize [file join $here .. ..]]

proc setting {name default} {
    return [expr {[info exists ::env($name)] && $::env($name) ne "" ? $::env($name) : $default}]
}

set build [file normalize [setting B [file join $root build]]]
set server::program [file normalize [setting CLIENTS_SERVER [file join $build debug bitkv-server]]]
set modules [file join $build clients node_modules]
set limit_s [setting CLIENTS_LIMIT 120]

# program: how it is asked whether the library is there, and how it is run.
set programs {
    hiredis {{file executable [file join $build debug tests clients hiredis]}
        {[file join $build debug tests clients hiredis]}}
    redis_py {{runs [python] -c "import redis"} {[python] [file join $here redis_py.py]}}
    node_redis {{file isdirectory [file join $modules redis]} {node [file join $build clients node_redis.mjs]}}
    ioredis {{file isdirectory [file join $modules ioredis]} {node [file join $build clients ioredis.mjs]}}
    ruby_redis {{runs ruby -e "require 'redis'"} {ruby [file join $here ruby_redis.rb]}}
    phpredis {{runs php -r "exit(extension_loaded('redis') ? 0 : 1);"} {php [file join $here phpredis.php]}}
    perl_redis {{runs perl -MRedis -e 1} {perl [file join $here perl_redis.pl]}}
    redigo {{build_go} {[file join $build clients redigo]}}
}

# ---- What is there ----

proc runs {args} {
    return [expr {![catch {exec {*}$args </dev/null >/dev/null 2>@1}]}]
}

# The first Python may be another than the one that Debian's packages are for.
proc python {} {
    foreach name {python3 /usr/bin/python3} {
        if {[runs $name -c "import redis"]} {
            return $name
        }
    }
    return python3
}

# Debian's Go libraries are found under GOPATH, without modules and without any network.
proc build_go {} {
    global here build
    set source [file join $here redigo.go]
    file mkdir [file join $build clients]
    return [runs env GO111MODULE=off GOPATH=/usr/share/gocode GOFLAGS= GOCACHE=[file join $build clients go-cache] \
        go build -o [file join $build clients redigo] $source]
}

# Node looks for libraries beside the program that asks for them.
proc place_node_programs {} {
    global here build modules
    if {[file isdirectory $modules]} {
        foreach file [glob -directory $here *.mjs] {
            file copy -force $file [file join $build clients]
        }
    }
}

# ---- One program ----

proc on_line {channel} {
    if {[gets $channel line] < 0} {
        if {[eof $channel]} {
            set ::over "ended"
        }
        return
    }
    lappend ::output $line
    if {$line eq "restart"} {
        set ::server [server::restart $::server]
        puts $channel "restarted"
        flush $channel
    }
}

proc run_program {name command} {
    global output over server limit_s
    set output {}
    set server [server::start --requirepass secret --appendonly yes]
    set url "redis://default:secret@127.0.0.1:[dict get $server port]/3"
    set channel [open "|[list {*}[server::guard] {*}$command $url 2>@1]" r+]
    fconfigure $channel -blocking 0 -buffering line -encoding binary
    fileevent $channel readable [list on_line $channel]
    set timer [after [expr {$limit_s * 1000}] {set ::over "did not end in $::limit_s s"}]
    vwait ::over
    after cancel $timer
    set how $over
    if {$how ne "ended"} {
        exec kill -KILL {*}[pid $channel]
    }
    fconfigure $channel -blocking 1
    if {[catch {close $channel} text] && $how eq "ended"} {
        set how "ended badly: $text"
    }
    if {[server::stop $server] != 0} {
        set how "the server did not exit with status 0"
    }
    return $how
}

proc report {program how} {
    set said [clients::judge $::names $::output $how]
    dict with said {
        puts [format "%-12s %2d passed, %2d failed, %d skipped" $program $passed [llength $bad] $skipped]
        if {[llength $bad] > 0} {
            puts "    [join [concat $bad $notes] "\n    "]"
        }
        incr ::passed $passed
        incr ::failed [llength $bad]
    }
}

# ---- All of them ----

if {[catch {
    set names [clients::names [read_file [file join $here README.md]]]
    place_node_programs
    foreach {program how} $programs {
        if {[llength $argv] > 0 && $program ni $argv} continue
        lassign $how there command
        if {[eval $there]} {
            report $program [run_program $program [eval list $command]]
        } elseif {[setting CLIENTS_ALL 0]} {
            puts "$program: its library is not there"
            incr failed
        } else {
            puts "$program: skipped, its library is not there"
        }
    }
} text options]} {
    puts "FAILED [dict get $options -errorinfo]"
    incr failed
}
foreach s $server::list {
    server::stop $s
}
puts "$passed passed, $failed failed"
exit [expr {$failed > 0}]
