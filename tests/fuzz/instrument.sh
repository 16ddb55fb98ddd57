#!/bin/sh
# Stands before rustc for the crates of this workspace when `cargo xtask fuzz` builds. The gateway's library counts
# which of its branches are taken, and tells libFuzzer what it compares with what; all else is built as usual,
# so that libFuzzer goes after our branches and no others. These are options of every rustc, the stable one too.
case " $* " in
*" --crate-name portcullis "*" --crate-type lib "*)
    exec "$@" -Cpasses=sancov-module \
        -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
        -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares
    ;;
*) exec "$@" ;;
esac
