"""Reads and publishes over WebSocket, with Python's package `websockets`.

    python3 websocket.py read URL [ID]   prints each message of ws://HOST/TOPIC as a line of JSON, {id, event, data}; {"event": "open"} is a
                                         connection, {"event": "close", "code"} its end; an ID says where to go on
    python3 websocket.py publish URL     publishes each line of JSON text that it reads, and prints each answer as a line
    python3 websocket.py frames URL      sends each line of hexadecimal digits that it reads, and prints each message, {event, data}
"""

import json
import sys
import time

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect


def say(what):
    print(json.dumps(what), flush=True)


def split(url):
    """The address for any topics, and the topic."""
    host, _, topic = url.removeprefix("ws://").partition("/")
    return f"ws://{host}/api/v1/ws", topic


def read(url, last_id=None):
    address, topic = split(url)
    place, retry = last_id, 0.2
    while True:
        try:
            with connect(address, proxy=None) as socket:
                wish = {"command": "subscribe", "topic": topic, "id": 1, "from": "earliest"}
                if place:
                    offset, wish["epoch"] = place.split(".")
                    wish["from"] = f"offset:{offset}"
                socket.send(json.dumps(wish))
                for message in socket:
                    told = json.loads(message)
                    event = told.get("event")
                    if event == "$subscribed":
                        epoch = told["epoch"]
                        say({"event": "open"})
                    elif event == "$goodbye":
                        retry = told["retry_after_ms"] / 1000
                    elif event:
                        say(told)
                    else:
                        place = f"{told['offset'] + 1}.{epoch}"
                        say({"id": place, "event": "message", "data": told["payload"]})
                say({"event": "close", "code": socket.close_code})
        except ConnectionClosed as error:
            say({"event": "close", "code": error.rcvd.code if error.rcvd else 1006})
        except InvalidStatus as error:
            # A proxy whose server is away says so; what the broker refuses it refuses again.
            if error.response.status_code < 500:
                raise
        except (OSError, EOFError, TimeoutError):
            pass
        time.sleep(retry)


def publish(url):
    address, topic = split(url)
    socket = None
    for number, line in enumerate(sys.stdin, 1):
        payload = json.loads(line)
        # One that was closed meanwhile is opened again, before anything is said on it.
        if socket is None or is_closed(socket):
            socket = connect(address, proxy=None)
        socket.send(json.dumps({"command": "publish", "topic": topic, "payload": payload, "id": number}))
        say(json.loads(socket.recv(timeout=60)))


def is_closed(socket):
    try:
        socket.recv(timeout=0)
    except TimeoutError:
        return False
    except ConnectionClosed:
        return True
    # A goodbye, with a Close behind it.
    return True


def frames(url):
    with connect(url, subprotocols=["oyez.v2"], proxy=None) as socket:
        say({"event": "open", "subprotocol": socket.subprotocol})
        for line in sys.stdin:
            socket.send(bytes.fromhex(line))
            say({"event": "frames", "data": socket.recv(timeout=60).hex()})
        socket.ping().wait(60)
    say({"event": "close", "code": socket.close_code})


{"read": read, "publish": publish, "frames": frames}[sys.argv[1]](*sys.argv[2:])
