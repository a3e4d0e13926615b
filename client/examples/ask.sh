#!/bin/sh
# Asks one question through semcached, and the model only if the cache has no answer.
#
#   ./ask.sh "What is a Unix socket?"
set -eu
question=${1:-What is a Unix socket?}

# A look-up costs nothing: it exits 1 on a miss, and more than 1 if something is wrong.
status=0
semcachectl lookup --quiet -s 'Answer in one short sentence.' -p temperature=0 "$question" || status=$?
case $status in
0) echo "(from the cache)" >&2 ;;
1) semcachectl ask -s 'Answer in one short sentence.' -p temperature=0 "$question" ;;
*) exit "$status" ;;
esac
