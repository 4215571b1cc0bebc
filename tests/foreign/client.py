"""Reads and publishes with Python's standard library.

    python3 client.py read URL [ID]   prints each event as a line of JSON, {id, event, data}; {"event": "open"} is a connection
    python3 client.py publish URL     publishes each line of JSON text that it reads, and prints each answer as a line
"""

import json
import sys
import time
import urllib.error
import urllib.request


def say(what):
    print(json.dumps(what), flush=True)


def events(lines):
    """The blocks of a stream, as its specification reads them."""
    last_id, event, data, retry = None, "", [], None
    for line in lines:
        name, _, value = line.decode().rstrip("\r\n").partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            last_id = value
        elif name == "event":
            event = value
        elif name == "data":
            data.append(value)
        elif name == "retry":
            retry = int(value) / 1000
        elif not name and not line.strip():
            yield last_id, event or "message", "\n".join(data) if data else None, retry
            event, data = "", []


def read(url, last_id=None):
    retry = 1
    while True:
        request = urllib.request.Request(url, headers={"Last-Event-ID": last_id} if last_id else {})
        try:
            with urllib.request.urlopen(request, timeout=90) as response:
                say({"event": "open"})
                for found_id, event, data, found_retry in events(response):
                    last_id, retry = found_id or last_id, found_retry or retry
                    if data is not None:
                        say({"id": last_id, "event": event, "data": data})
        except urllib.error.HTTPError as error:
            # A proxy whose server is away says so; what the broker refuses it refuses again.
            if error.code < 500:
                raise
        except (OSError, urllib.error.URLError):
            pass
        time.sleep(retry)


def publish(url):
    for line in sys.stdin:
        body = json.loads(line).encode()
        with urllib.request.urlopen(url, data=body, timeout=60) as response:
            say(json.load(response))


{"read": read, "publish": publish}[sys.argv[1]](*sys.argv[2:])
