"""stomp.py, as a broker sees it without a gateway: tells what it receives, sends what it is told to.

Arguments: PORT LOGIN PASSCODE DESTINATION. Each line of the input is a JSON object with a body and headers to send;
each line of the output one that was received. Ends with its input.
"""

import json
import sys

import stomp


class Listener(stomp.ConnectionListener):
    def on_message(self, frame):
        print(json.dumps({"headers": frame.headers, "body": frame.body}), flush=True)

    def on_error(self, frame):
        print(json.dumps({"error": frame.body}), flush=True)


port, login, passcode, destination = sys.argv[1:]
connection = stomp.Connection12([("127.0.0.1", int(port))], vhost="/")
connection.set_listener("", Listener())
connection.connect(login, passcode, wait=True)
connection.subscribe(destination=destination, id="peer", headers={"receipt": "subscribed"})
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    message = json.loads(line)
    connection.send(message["destination"], message["body"], headers=message["headers"])
connection.disconnect()
