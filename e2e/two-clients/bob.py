"""Bob: listens and answers over a WebSocket. See run.sh."""

import asyncio
import json
import os
import sys

import websockets

URL, ROOM, ALICE = sys.argv[1:4]
TOKEN = os.environ["ROOKERY_TOKEN"]


class Bob:
    def __init__(self, socket):
        self.socket = socket
        self.next_id = 1
        self.heard = []

    async def read(self):
        frame = json.loads(await asyncio.wait_for(self.socket.recv(), 20))
        print("<", json.dumps(frame, ensure_ascii=False), flush=True)
        return frame

    async def ask(self, t, **fields):
        """Sends a request and returns its answer; what comes meanwhile is kept."""
        number, self.next_id = self.next_id, self.next_id + 1
        await self.socket.send(json.dumps({"t": t, "id": number, **fields}))
        while True:
            frame = await self.read()
            if frame.get("re") == number:
                assert frame["t"] != "error", frame
                return frame
            self.heard.append(frame)

    async def hear(self, t, **fields):
        """The next frame of this kind with these fields."""
        while True:
            frame = self.heard.pop(0) if self.heard else await self.read()
            if frame["t"] == t and all(frame.get(name) == value for name, value in fields.items()):
                return frame


async def main():
    address = URL.replace("http", "ws", 1) + "/v1/ws"
    async with websockets.connect(address, subprotocols=["rookery.v1.json"]) as socket:
        bob = Bob(socket)
        welcome = await bob.ask("hello", token=TOKEN, rooms="all", client="two-clients/bob.py")
        me = welcome["user"]["id"]
        print("listening", flush=True)

        question = await bob.hear("message", room=ROOM)
        assert question["text"] == "Bob, do you hear me?", question
        assert question["sender"]["username"] == ALICE, question
        answer = await bob.ask(
            "send",
            room=ROOM,
            text="I hear you, Alice. 🐦",
            client_msg_id="answer",
            reply_to=question["seq"],
        )
        # He hears himself, in the room's order.
        own = await bob.hear("message", room=ROOM)
        assert own["sender"]["id"] == me and own["seq"] == answer["seq"] > question["seq"], own

        edited = await bob.hear("edited", room=ROOM, message_seq=question["seq"])
        assert edited["text"] == "Bob, do you hear me now?", edited
        await bob.hear("reaction", room=ROOM, message_seq=answer["seq"], emoji="👍")

        direct = await bob.hear("message", text="Between us")
        assert direct["room"] != ROOM, direct
        await bob.ask("send", room=direct["room"], text="It stays between us.", client_msg_id="direct")


asyncio.run(main())
