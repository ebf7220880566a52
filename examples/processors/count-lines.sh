#!/bin/sh
# The smallest useful processor: counts the lines of a job's document.
#
# What it uses of the command contract:
#   standard input    the document's bytes, unchanged
#   standard output   one message of the job log per line; a JSON object with "text" may carry a level
#   exit status       0 done, anything else failed (75 would mean: try again later)
set -eu

lines=$(wc -l)
printf '{"text": "%d lines", "level": "info", "tool": "count-lines"}\n' "$lines"
