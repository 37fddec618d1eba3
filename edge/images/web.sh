#!/bin/sh
# The demo's container: answers every GET with who and where it is. SIGTERM ends it after the requests in flight.
mkdir -p /tmp/www
printf '{"pod":"%s","site":"%s","kind":"container","node":"%s"}\n' "$POD_NAME" "$PROXIMA_SITE" "$NODE_NAME" >/tmp/www/index.json
printf 'I:index.json\n.json:application/json\n' >/tmp/www.conf
httpd -f -p "${PORT:-80}" -h /tmp/www -c /tmp/www.conf &
trap 'sleep 0.5; kill $!; exit 0' TERM INT
echo "serving on port ${PORT:-80}"
wait
