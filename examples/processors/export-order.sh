#!/bin/sh
# Answers a job of orders_in with a job of orders_out: the reported states as a list to be fetched.
# It shows how a processor makes a job for another interface.
#
# What it uses of the command contract:
#   standard input    the document, already validated by the gateway against orders_in.xsd
#   SPOOLGATE_JOB     name of the job; the new job carries it in its own name
#   SPOOLGATE_EMIT    directory: a file written to <interface>/ below it becomes a job of that
#                     interface once this command has succeeded, and is dropped if it fails
#   standard output   one message of the job log per line
#   exit status       0 done; 75 try again later; anything else failed
#
# Running it twice is safe: only the run that succeeds hands over its file.
# It needs xsltproc, since nothing less reads every encoding and writes every character right.
set -eu

: "${SPOOLGATE_JOB:?must name the job}" "${SPOOLGATE_EMIT:?must name the directory for new jobs}"
stylesheet=$(dirname -- "$0")/export-order.xsl

if ! command -v xsltproc >/dev/null; then
    echo '{"text": "xsltproc is not installed", "level": "error", "tool": "export-order"}' >&2
    exit 75
fi

mkdir -p -- "$SPOOLGATE_EMIT/orders_out"
# The exit statuses of xsltproc are its own and would be misread as those of the contract.
emitted="$SPOOLGATE_EMIT/orders_out/states-of-$SPOOLGATE_JOB"
xsltproc --nonet --nowrite --nomkdir --novalid \
    --stringparam created "$(date -u +%Y-%m-%dT%H:%M:%SZ)" \
    "$stylesheet" - >"$emitted" || {
    rm -f -- "$emitted"
    echo '{"text": "the document could not be transformed", "level": "error", "tool": "export-order"}' >&2
    exit 1
}

echo "wrote a job for orders_out"
