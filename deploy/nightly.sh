#!/bin/sh
# Take in the orders of the day, or train again on Sundays, and let all that serve take over: lists of all users, a
# vector database, the server.
# Stopped at any moment, it goes on where it was; what serves keeps what it has until something new is whole.
#   H2REC_CONFIG    configuration of the run          H2REC_RUN      its folder
#   H2REC_ORDERS    the orders of the day; without, every night trains           H2REC_ITEMS  items, new ones among them
#   H2REC_HISTORIES histories of users, if lists are wanted          H2REC_VECTORS  a vector database, if there is one
#   H2REC_URL       the server, if there is one       H2REC_TOKEN_FILE  its token
set -eu
if [ -n "${H2REC_ORDERS:-}" ] && [ -d "$H2REC_RUN/bundle" ] && [ "$(date +%u)" != 7 ]; then
    h2rec update "$H2REC_RUN/bundle" "$H2REC_ORDERS" ${H2REC_ITEMS:+--items "$H2REC_ITEMS"} --out "$H2REC_RUN/bundle"
else
    h2rec run "$H2REC_CONFIG" --out "$H2REC_RUN"
fi
if [ -n "${H2REC_HISTORIES:-}" ]; then
    h2rec recommend "$H2REC_RUN/bundle" --input "$H2REC_HISTORIES" --output "$H2REC_RUN/lists.parquet" --k 100
fi
if [ -n "${H2REC_VECTORS:-}" ]; then
    h2rec export "$H2REC_RUN/bundle" --vectors "$H2REC_VECTORS"
fi
if [ -n "${H2REC_URL:-}" ]; then
    # By its standard input, so that no list of processes shows the token.
    echo "header = \"authorization: Bearer $(cat "$H2REC_TOKEN_FILE")\"" |
        curl --fail --silent --show-error --config - --request POST "$H2REC_URL/reload"
fi
